"""Q-Filters: Leveraging QK Geometry for Efficient KV Cache Compression. arXiv:2503.02812, NathanGodey/qfilters.

One direction a head, found offline from queries, is multiplied with each key; the lowest products go. One fp32 score a
slot is kept, so that a step only searches for the smallest.
"""

from dataclasses import dataclass

from kvsim.traits.budgeted import Budgeted
from kvsim.traits.budgets import Budget
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.scorers import KeyScores


@dataclass(frozen=True)
class QFilters(Paper):
    """budget: tokens of a head (free; the repository's example has 128); recent: newest tokens that stay (64)."""

    budget: int = 1024
    recent: int = 64

    title = "Q-Filters"
    arxiv = "2503.02812"
    repo = "NathanGodey/qfilters"
    knob = "budget"
    above_full = "a score for each slot"

    def __post_init__(self) -> None:
        require(self.recent >= 0, f"recent must be at least 0, but got {self.recent}")
        require(self.budget > self.recent, f"budget must be more than recent ({self.recent}), but got {self.budget}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Published code scores all keys anew at each step beyond the budget, and gathers the whole cache."""
        published = fidelity == "published"
        scorer = KeyScores(at_append=not published, filters=True)
        retention = Budgeted(Budget(self.budget), scorer, recent=self.recent, every=1, copies=published)
        return Traits(retention=retention, reuse="none")
