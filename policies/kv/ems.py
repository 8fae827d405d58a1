"""EMS: Adaptive Evict-then-Merge Strategy for Head-wise KV Cache Compression. arXiv:2412.08521.

Attention of the whole history and of a recent window rank tokens together; irrelevant ones go, redundant ones are
merged into kept ones, with a class for what is thrown away so that all heads run at once. No code was read: how scores
are mixed and which tokens may be merged is assumed.
"""

from dataclasses import dataclass
from types import MappingProxyType

from kvsim.traits.budgeted import Budgeted
from kvsim.traits.budgets import Budget
from kvsim.traits.global_local import GlobalLocal
from kvsim.traits.merges import MergeRedundant
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.profile import assumed


@dataclass(frozen=True)
class Ems(Paper):
    """budget: rows of a head (256); recent: newest tokens that stay, and queries of the local score; candidates: tokens
    that stay or may be merged, as a multiple of the budget (2, assumed); alike: least cosine of merged keys (0.6,
    assumed).
    """

    budget: int = 256
    recent: int = 32
    candidates: float = 2.0
    alike: float = 0.6

    title = "EMS"
    arxiv = "2412.08521"
    knob = "budget"
    above_full = "two scores for each slot"
    figures = MappingProxyType({"merged_tokens": assumed(0.5, spread=0.3)})

    def __post_init__(self) -> None:
        require(0 < self.recent < self.budget, f"recent must be in (0, budget), but got {self.recent} of {self.budget}")
        require(self.candidates >= 1, f"candidates must be at least 1, but got {self.candidates}")
        require(-1 <= self.alike <= 1, f"alike must be in [-1, 1], but got {self.alike}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """There is no published code to differ from."""
        share = self.profile()["merged_tokens"].mean
        fate = MergeRedundant(share=share, candidates=self.candidates, alike=self.alike)
        retention = Budgeted(Budget(self.budget), GlobalLocal(window=self.recent), fate, recent=self.recent, every=1)
        return Traits(retention=retention, reuse="none")
