"""DuoAttention: Efficient Long-Context LLM Inference with Retrieval and Streaming Heads. arXiv:2410.10819.

Retrieval heads, learned offline, keep everything; streaming heads keep sinks and a window, in prefill and decode alike.
Code: mit-han-lab/duo-attention, whose patterns give 50 % of Llama-3-8B's kv heads and 25 % of Llama-2-7B's. A model's
heads are ranked together, so that layers have unlike shares: how unlike, a profile says.
"""

from dataclasses import dataclass
from types import MappingProxyType

from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.profile import assumed
from kvsim.traits.retrieval_heads import RetrievalHeads


@dataclass(frozen=True)
class Duoattention(Paper):
    """full: share of kv heads that keep everything (0.5 with grouped heads, 0.25 without); sinks, recent: first and
    newest tokens of the others (64 and 256 at deployment; 128 and 256 in training).
    """

    full: float = 0.5
    sinks: int = 64
    recent: int = 256

    title = "DuoAttention"
    arxiv = "2410.10819"
    repo = "mit-han-lab/duo-attention"
    knob = "full"
    figures = MappingProxyType({"retrieval_heads": assumed(1.0, spread=0.1)})

    def __post_init__(self) -> None:
        require(0 <= self.full <= 1, f"full must be in [0, 1], but got {self.full}")
        require(self.sinks >= 0, f"sinks must be at least 0, but got {self.sinks}")
        require(self.recent >= 1, f"recent must be at least 1, but got {self.recent}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Published code clones and copies the streaming heads' rows after each chunk of a prompt."""
        by_layer = self.profile()["retrieval_heads"]
        retention = RetrievalHeads(self.full, self.sinks, self.recent, fidelity == "published", figure=by_layer)
        return Traits(retention=retention, reuse="none")
