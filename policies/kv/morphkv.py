"""Dialogue Without Limits: Constant-Sized KV Caches for Extended Responses in LLMs. arXiv:2503.00979.

The attention of the last few queries to every cached token is kept and fused, and ranks older tokens; the cache has one
size from the prompt's end on. Code: ghadiaravi13/MorphKV.
"""

from dataclasses import dataclass

from kvsim.traits.budgeted import Budgeted
from kvsim.traits.budgets import Budget
from kvsim.traits.policy import Fidelity, Paper, Traits, require, require_window
from kvsim.traits.watchers import RecentProbabilities


@dataclass(frozen=True)
class Morphkv(Paper):
    """capacity: tokens of a head, the window among them (repository: 2000 for LongBench); window: last queries whose
    attention is kept, and newest tokens that stay (32); fusion: sum or max.
    """

    capacity: int = 2000
    window: int = 32
    fusion: str = "sum"

    title = "MorphKV"
    arxiv = "2503.00979"
    repo = "ghadiaravi13/MorphKV"
    knob = "capacity"
    above_full = "rows of attention for each slot"

    def __post_init__(self) -> None:
        require(self.fusion in ("sum", "max"), f"fusion must be sum or max, but got {self.fusion!r}")
        require_window(self.window, self.capacity)

    def traits(self, fidelity: Fidelity) -> Traits:
        """Published code compacts keys, values and the kept rows with index_select at each step."""
        scorer = RecentProbabilities(self.window, self.fusion)
        budget, copies = Budget(self.capacity), fidelity == "published"
        return Traits(retention=Budgeted(budget, scorer, recent=self.window, every=1, copies=copies), reuse="none")
