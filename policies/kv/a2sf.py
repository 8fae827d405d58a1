"""A2SF: Accumulative Attention Scoring with Forgetting Factor for Token Pruning. arXiv:2407.20485, Dirac-Notation/A2SF.

H2O's sums, in which older queries count less and less: the same bytes and nearly the same work.
"""

from dataclasses import dataclass

from kvsim.traits.budgeted import Budgeted
from kvsim.traits.budgets import Budget
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.scorers import AccumulatedScores


@dataclass(frozen=True)
class A2sf(Paper):
    """budget: tokens of a head (repository: 256); recent: newest of them (16); forgetting: factor by which a sum
    shrinks at each query (0.95).
    """

    budget: int = 256
    recent: int = 16
    forgetting: float = 0.95

    title = "A2SF"
    arxiv = "2407.20485"
    repo = "Dirac-Notation/A2SF"
    knob = "budget"
    above_full = "a score for each slot"

    def __post_init__(self) -> None:
        require(
            0 <= self.recent < self.budget, f"recent must be in [0, budget), but got {self.recent} of {self.budget}"
        )
        require(0 < self.forgetting <= 1, f"forgetting must be in (0, 1], but got {self.forgetting}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Published code writes the score matrix out and gathers the cache at each step."""
        written = fidelity == "published"
        scorer = AccumulatedScores(written, decay=self.forgetting)
        retention = Budgeted(Budget(self.budget), scorer, recent=self.recent, every=1, copies=written)
        return Traits(retention=retention, reuse="none")
