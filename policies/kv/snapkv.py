"""SnapKV: LLM Knows What You are Looking for Before Generation. arXiv:2404.14469, FasterDecoding/SnapKV."""

from dataclasses import dataclass

from kvsim.traits.budgeted import Budgeted
from kvsim.traits.budgets import Budget
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.votes import WindowVotes


@dataclass(frozen=True)
class Snapkv(Paper):
    """capacity: prompt tokens kept, the window among them; window: last queries that vote (repository: 2048 and 32)."""

    capacity: int = 2048
    window: int = 32

    title = "SnapKV"
    arxiv = "2404.14469"
    repo = "FasterDecoding/SnapKV"

    def __post_init__(self) -> None:
        require(self.window >= 1, f"window must be at least 1, but got {self.window}")
        fits = self.capacity > self.window
        require(fits, f"capacity must be more than window ({self.window}), but got {self.capacity}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Published code repeats keys and values for every query head before caching them."""
        retention = Budgeted(Budget(self.capacity), WindowVotes(self.window), repeat_heads=fidelity == "published")
        return Traits(retention=retention, reuse="none")
