"""A2ATS: Retrieval-Based KV Cache Reduction via Windowed Rotary Position Embedding and Query-Aware Vector
Quantization. arXiv:2502.12665.

Rows rest in host DRAM, a code of each key on the chip: it scores tokens by codewords and lets the host's processors
attend to the best. Code: junhuihe-hjh/A2ATS, whose kernel for processors was not released.
"""

from dataclasses import dataclass

from kvsim.traits.chosen_on_host import ChosenOnHost
from kvsim.traits.codewords import Codewords
from kvsim.traits.policy import Fidelity, Paper, Traits, require


@dataclass(frozen=True)
class A2ats(Paper):
    """share: of the tokens that are read (repository: 0.03); codewords: of a kv head's codebook (4096, assumed);
    window: distance up to which positions count in WRoPE (64, assumed); sinks, local: first and newest tokens
    that the chip attends to (4 and 64, assumed); numa_aware: each socket attends to the heads in its own memory.
    """

    share: float = 0.03
    codewords: int = 4096
    window: int = 64
    sinks: int = 4
    local: int = 64
    numa_aware: bool = True

    title = "A2ATS"
    arxiv = "2502.12665"
    repo = "junhuihe-hjh/A2ATS"
    knob = "share"
    above_full = "a code of each key"

    def __post_init__(self) -> None:
        require(0 < self.share <= 1, f"share must be in (0, 1], but got {self.share}")
        for name in ("codewords", "window", "local"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1, but got {getattr(self, name)}")
        require(self.sinks >= 0, f"sinks must be at least 0, but got {self.sinks}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Codes of a prefix are shared with its rows. What was released masks scores instead; it saves nothing."""
        if fidelity == "published":
            return Traits()
        placement = ChosenOnHost(self.sinks, self.local, self.numa_aware)
        return Traits(selection=Codewords(self.codewords, self.share, self.window), placement=placement)
