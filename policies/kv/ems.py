"""EMS: Adaptive Evict-then-Merge Strategy for Head-wise KV Cache Compression. arXiv:2412.08521.

Attention of the whole history and of a recent window rank tokens together; irrelevant ones go, redundant ones are
merged into kept ones, with a class for what is thrown away so that all heads run at once. No code was read.
"""

from dataclasses import dataclass
from types import MappingProxyType

from kvsim.traits.budgeted import Budgeted
from kvsim.traits.budgets import Budget
from kvsim.traits.fates import MergeNearest
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.profile import assumed
from kvsim.traits.scorers import AccumulatedScores


@dataclass(frozen=True)
class Ems(Paper):
    """budget: rows of a head (256); recent: newest tokens that stay."""

    budget: int = 256
    recent: int = 32

    title = "EMS"
    arxiv = "2412.08521"
    above_full = "a score for each slot"
    figures = MappingProxyType({"merged_tokens": assumed(0.5, spread=0.3)})

    def __post_init__(self) -> None:
        require(
            0 <= self.recent < self.budget, f"recent must be in [0, budget), but got {self.recent} of {self.budget}"
        )

    def traits(self, fidelity: Fidelity) -> Traits:
        """There is no published code to differ from."""
        fate = MergeNearest(share=self.profile()["merged_tokens"].mean)
        retention = Budgeted(Budget(self.budget), AccumulatedScores(), fate, recent=self.recent, every=1)
        return Traits(retention=retention, reuse="none")
