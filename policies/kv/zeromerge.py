"""ZeroMerge: Parameter-Free KV Cache Compression for Memory-Efficient Long-Context LLMs. arXiv:2503.10714.

Evicted tokens are merged into the kept slot that is most like them, and a weight for each slot, added to its logit,
stands for how many it holds. Code: SusCom-Lab/ZeroMerge.
"""

from dataclasses import dataclass

from kvsim.traits.budgeted import Budgeted
from kvsim.traits.budgets import Budget
from kvsim.traits.merges import MergeCounted
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.scorers import AccumulatedScores


@dataclass(frozen=True)
class Zeromerge(Paper):
    """keep: slots as a share of the prompt (0.05); recent: share of them that the newest tokens hold, the others being
    those that drew most attention (0.5, assumed).
    """

    keep: float = 0.05
    recent: float = 0.5

    title = "ZeroMerge"
    arxiv = "2503.10714"
    repo = "SusCom-Lab/ZeroMerge"
    knob = "keep"
    above_full = "a score and a weight for each slot"

    def __post_init__(self) -> None:
        require(0 < self.keep <= 1, f"keep must be in (0, 1], but got {self.keep}")
        require(0 < self.recent < 1, f"recent must be in (0, 1), but got {self.recent}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Published code materializes scores."""
        written = fidelity == "published"
        parts = self.keep * (1 - self.recent), self.keep * self.recent
        retention = Budgeted(Budget(parts=parts), AccumulatedScores(written), MergeCounted(), every=1, copies=written)
        return Traits(retention=retention, reuse="none")
