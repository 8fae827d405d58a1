"""Not All Heads Matter: A Head-Level KV Cache Compression Method with Integrated Retrieval and Reasoning.

arXiv:2410.19258, FYYFU/HeadKV. An offline score of each head splits a pool of tokens over heads; each then chooses as
in SnapKV. Lengths differ by head, so rows lie flat and attention takes them as sequences of their own.
"""

from dataclasses import dataclass
from types import MappingProxyType

from kvsim.traits.budgeted import Budgeted
from kvsim.traits.head_budgets import HeadShares
from kvsim.traits.policy import Fidelity, Paper, Traits, require, require_window
from kvsim.traits.profile import assumed
from kvsim.traits.votes import WindowVotes


@dataclass(frozen=True)
class Headkv(Paper):
    """capacity: prompt tokens kept on average over heads, the window among them (64 to 1024); window: last queries that
    vote (32); pool: neighbours (7); beta: a head's (capacity - window) / beta go into the common pool (1.005 to 10).
    """

    capacity: int = 1024
    window: int = 32
    pool: int = 7
    beta: float = 1.2

    title = "HeadKV"
    arxiv = "2410.19258"
    repo = "FYYFU/HeadKV"
    knob = "capacity"
    figures = MappingProxyType({"head_importance": assumed(2.5, 1.2, 0.6, 0.3, spread=0.2)})

    def __post_init__(self) -> None:
        require_window(self.window, self.capacity)
        require(self.beta >= 1, f"beta must be at least 1, but got {self.beta}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Published code caches every query head, and copies the flat cache to append a token to each head."""
        published = fidelity == "published"
        budget = HeadShares(self.capacity, window=self.window, beta=self.beta, figure=self.profile()["head_importance"])
        scorer = WindowVotes(self.window, self.pool)
        retention = Budgeted(budget, scorer, repeat_heads=published, copies_to_append=published)
        return Traits(retention=retention, reuse="none")
