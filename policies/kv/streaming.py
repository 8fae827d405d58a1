"""Efficient Streaming Language Models with Attention Sinks. arXiv:2309.17453, mit-han-lab/streaming-llm."""

from dataclasses import dataclass

from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.retention import SinksAndWindow


@dataclass(frozen=True)
class Streaming(Paper):
    """sinks: first tokens kept (paper: 4); window: newest tokens kept (repository's demo: 2000)."""

    sinks: int = 4
    window: int = 2000

    title = "StreamingLLM"
    arxiv = "2309.17453"
    repo = "mit-han-lab/streaming-llm"
    knob = "window"

    def __post_init__(self) -> None:
        require(self.sinks >= 0, f"sinks must be at least 0, but got {self.sinks}")
        require(self.window >= 1, f"window must be at least 1, but got {self.window}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Positions shift inside the cache, so blocks of a prefix are not shared. Published code copies each step."""
        return Traits(retention=SinksAndWindow(self.sinks, self.window, fidelity == "published"), reuse="none")
