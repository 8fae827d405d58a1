"""ZeroMerge: Parameter-Free KV Cache Compression for Memory-Efficient Long-Context LLMs. arXiv:2503.10714.

Evicted tokens are merged into the kept slot that is most like them, and a weight for each slot, added to its logit,
stands for how many it holds. Code: SusCom-Lab/ZeroMerge.
"""

from dataclasses import dataclass

from kvsim.traits.budgeted import Budgeted
from kvsim.traits.budgets import Budget
from kvsim.traits.fates import MergeNearest
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.scorers import AccumulatedScores


@dataclass(frozen=True)
class Zeromerge(Paper):
    """keep: slots as a share of the prompt (0.05)."""

    keep: float = 0.05

    title = "ZeroMerge"
    arxiv = "2503.10714"
    repo = "SusCom-Lab/ZeroMerge"
    above_full = "a score and a weight for each slot"

    def __post_init__(self) -> None:
        require(0 < self.keep <= 1, f"keep must be in (0, 1], but got {self.keep}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Published code materializes scores."""
        written = fidelity == "published"
        budget, fate = Budget(parts=(self.keep,)), MergeNearest(weight_bytes=4)
        retention = Budgeted(budget, AccumulatedScores(written), fate, every=1, copies=written)
        return Traits(retention=retention, reuse="none")
