"""Scissorhands: Exploiting the Persistence of Importance Hypothesis for KV Cache Compression. arXiv:2305.17118.

When a head's cache is full, several tokens are dropped at once: those that rarely mattered in the last steps. No code
was released; `published` is the reimplementation in AnswerDotAI/cold-compress. History, recent and drop are of the
paper.
"""

from dataclasses import dataclass

from kvsim.traits.budgeted import Budgeted
from kvsim.traits.budgets import Budget
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.watchers import History


@dataclass(frozen=True)
class Scissorhands(Paper):
    """budget: most tokens of a head (free in the paper); drop: share of them dropped at once (0.5); history: steps in
    which a token's importance is counted (400); recent: newest tokens that stay (10).
    """

    budget: int = 2048
    drop: float = 0.5
    history: int = 400
    recent: int = 10

    title = "Scissorhands"
    arxiv = "2305.17118"
    repo = "AnswerDotAI/cold-compress"
    knob = "budget"
    above_full = "a history for each slot"

    def __post_init__(self) -> None:
        gone = int(self.drop * self.budget)
        require(0 < gone < self.budget, f"drop x budget must be in (0, budget), but got {gone} of {self.budget}")
        require(self.history >= 1, f"history must be at least 1, but got {self.history}")
        require(
            0 <= self.recent <= self.budget - gone,
            f"recent must be in [0, {self.budget - gone}], but got {self.recent}",
        )

    def traits(self, fidelity: Fidelity) -> Traits:
        """The reimplementation keeps a byte for each entry of the history, which is more than a key's."""
        gone = int(self.drop * self.budget)
        scorer = History(self.history, 8 if fidelity == "published" else 1)
        budget = Budget(self.budget - gone)
        return Traits(retention=Budgeted(budget, scorer, recent=self.recent, every=gone), reuse="none")
