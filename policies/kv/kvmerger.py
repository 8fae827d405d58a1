"""Model Tells You Where to Merge: Adaptive KV Cache Merging for LLMs on Long-Context Tasks. arXiv:2407.08454.

Runs of consecutive tokens with similar keys become one row each, weighted by a Gaussian kernel around the token that
draws most attention. How many rows are left is a budget here; it is the prompt's cache that is merged. No code was
released.
"""

from dataclasses import dataclass

from kvsim.traits.budgeted import Budgeted
from kvsim.traits.budgets import Budget
from kvsim.traits.fates import MergeNeighbours
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.votes import WindowVotes


@dataclass(frozen=True)
class Kvmerger(Paper):
    """keep: rows left, as a share of the prompt (paper: 0.5 and 0.35); window: last queries whose attention finds
    pivots.
    """

    keep: float = 0.5
    window: int = 32

    title = "KVMerger"
    arxiv = "2407.08454"
    knob = "keep"

    def __post_init__(self) -> None:
        require(0 < self.keep <= 1, f"keep must be in (0, 1], but got {self.keep}")
        require(self.window >= 1, f"window must be at least 1, but got {self.window}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """There is no published code to differ from."""
        retention = Budgeted(Budget(parts=(self.keep,)), WindowVotes(self.window, pool=1), MergeNeighbours())
        return Traits(retention=retention, reuse="none")
