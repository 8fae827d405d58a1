"""PyramidKV: Dynamic KV Cache Compression based on Pyramidal Information Funneling. arXiv:2406.02069.

SnapKV's votes, with budgets that fall from the first layer to the last around a mean. Code: Zefan-Cai/KVCache-Factory.
"""

from dataclasses import dataclass

from kvsim.traits.budgeted import Budgeted
from kvsim.traits.budgets import Pyramid
from kvsim.traits.policy import Fidelity, Paper, Traits, require, require_window
from kvsim.traits.votes import WindowVotes


@dataclass(frozen=True)
class Pyramidkv(Paper):
    """capacity: prompt tokens kept on average over layers, the window among them (paper: 128 and 2048); window: last
    queries that vote (32); pool: neighbours (7); beta: least budget is (capacity - window) / beta (20).
    """

    capacity: int = 2048
    window: int = 32
    pool: int = 7
    beta: int = 20

    title = "PyramidKV"
    arxiv = "2406.02069"
    repo = "Zefan-Cai/KVCache-Factory"
    knob = "capacity"

    def __post_init__(self) -> None:
        require_window(self.window, self.capacity)
        require(self.beta >= 1, f"beta must be at least 1, but got {self.beta}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Published code repeats keys and values for every query head before caching them (its default)."""
        budget = Pyramid(self.capacity, window=self.window, beta=self.beta)
        retention = Budgeted(budget, WindowVotes(self.window, self.pool), repeat_heads=fidelity == "published")
        return Traits(retention=retention, reuse="none")
