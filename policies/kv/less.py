"""Get More with LESS: Synthesizing Recurrence with KV Cache Compression. arXiv:2402.09398, hdong920/LESS.

H2O keeps a few tokens; all others are folded into a small linear-attention state of each head, by learnt kernels, and
both are merged in the output.
"""

from dataclasses import dataclass

from kvsim.traits.budgeted import Budgeted
from kvsim.traits.budgets import Budget
from kvsim.traits.fates import LinearState
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.scorers import AccumulatedScores


@dataclass(frozen=True)
class Less(Paper):
    """heavy, recent: shares of the prompt's length kept, as in H2O (2.5 % each); rank: rows of the state (8); hidden:
    width of the kernels' MLPs (512).
    """

    heavy: float = 0.025
    recent: float = 0.025
    rank: int = 8
    hidden: int = 512

    title = "LESS"
    arxiv = "2402.09398"
    repo = "hdong920/LESS"
    knob = ("heavy", "recent")
    above_full = "a score for each slot, and the state"

    def __post_init__(self) -> None:
        for name in ("heavy", "recent"):
            require(0 < getattr(self, name) <= 1, f"{name} must be in (0, 1], but got {getattr(self, name)}")
        require(self.rank >= 1, f"rank must be at least 1, but got {self.rank}")
        require(self.hidden >= 1, f"hidden must be at least 1, but got {self.hidden}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Published code writes the score matrix out and gathers the cache, as its H2O does."""
        written = fidelity == "published"
        budget, fate = Budget(parts=(self.heavy, self.recent)), LinearState(self.rank, self.hidden)
        retention = Budgeted(budget, AccumulatedScores(written), fate, every=1, copies=written)
        return Traits(retention=retention, reuse="none")
