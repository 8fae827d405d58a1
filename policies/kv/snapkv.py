"""SnapKV: LLM Knows What You are Looking for Before Generation. arXiv:2404.14469, FasterDecoding/SnapKV."""

from dataclasses import dataclass

from kvsim.traits.budgeted import Budgeted
from kvsim.traits.budgets import Budget
from kvsim.traits.policy import Fidelity, Paper, Traits, require_window
from kvsim.traits.votes import WindowVotes


@dataclass(frozen=True)
class Snapkv(Paper):
    """capacity: prompt tokens kept, the window among them; window: last queries that vote (repository: 2048 and 32)."""

    capacity: int = 2048
    window: int = 32

    title = "SnapKV"
    arxiv = "2404.14469"
    repo = "FasterDecoding/SnapKV"
    knob = "capacity"

    def __post_init__(self) -> None:
        require_window(self.window, self.capacity)

    def traits(self, fidelity: Fidelity) -> Traits:
        """Published code repeats keys and values for every query head before caching them."""
        retention = Budgeted(Budget(self.capacity), WindowVotes(self.window), repeat_heads=fidelity == "published")
        return Traits(retention=retention, reuse="none")
