"""LazyEviction: Lagged KV Eviction with Attention Pattern Observation for Efficient Long Reasoning. arXiv:2506.15969.

Tokens come back into attention after gaps. Eviction waits for a window of steps, and keeps those whose longest gap says
that they may come back. Budget and window are free; the defaults are of no run in the paper.
"""

from dataclasses import dataclass

from kvsim.traits.budgeted import Budgeted
from kvsim.traits.budgets import Budget
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.watchers import Recurrence


@dataclass(frozen=True)
class Lazyeviction(Paper):
    """budget: tokens of a head after an eviction; window: decode steps between evictions; threshold: of attention above
    which a token mattered.
    """

    budget: int = 2048
    window: int = 128
    threshold: float = 0.001

    title = "LazyEviction"
    arxiv = "2506.15969"
    knob = "budget"
    above_full = "two integers for each slot"

    def __post_init__(self) -> None:
        require(self.window >= 1, f"window must be at least 1, but got {self.window}")
        require(self.budget > self.window, f"budget must be more than window ({self.window}), but got {self.budget}")
        require(0 < self.threshold < 1, f"threshold must be in (0, 1), but got {self.threshold}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """There is no published code that was read."""
        retention = Budgeted(Budget(self.budget), Recurrence(self.threshold), recent=self.window, every=self.window)
        return Traits(retention=retention, reuse="none")
