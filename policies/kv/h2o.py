"""H2O: Heavy-Hitter Oracle for Efficient Generative Inference of LLMs. arXiv:2306.14048, FMInference/H2O."""

from dataclasses import dataclass

from kvsim.traits.budgeted import Budgeted
from kvsim.traits.budgets import Budget
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.scorers import AccumulatedScores


@dataclass(frozen=True)
class H2o(Paper):
    """heavy, recent: shares of the prompt's length kept as heavy hitters and as newest tokens (paper: 10 % each)."""

    heavy: float = 0.1
    recent: float = 0.1

    title = "H2O"
    arxiv = "2306.14048"
    repo = "FMInference/H2O"
    knob = ("heavy", "recent")
    above_full = "a score for each slot, before the budget is reached"

    def __post_init__(self) -> None:
        for name in ("heavy", "recent"):
            share = getattr(self, name)
            require(0 < share <= 1, f"{name} must be in (0, 1], but got {share}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Published code (real_drop) writes the score matrix out and gathers the whole cache each step."""
        written = fidelity == "published"
        budget = Budget(parts=(self.heavy, self.recent))
        return Traits(retention=Budgeted(budget, AccumulatedScores(written), every=1, copies=written), reuse="none")
