"""WindowKV: Task-Adaptive Group-Wise KV Cache Window Selection for Efficient LLM Inference. arXiv:2503.17922.

Blocks of consecutive tokens are kept or dropped together, layers in groups reuse the choice of their first, budgets
fall with depth, and a small classifier reads the prompt to tell the task. Code: optim996/WindowKV.
"""

from dataclasses import dataclass

from kvsim.traits.auxiliary import Classifier
from kvsim.traits.budgeted import Budgeted
from kvsim.traits.budgets import Pyramid
from kvsim.traits.policy import Fidelity, Paper, Traits, require, require_window
from kvsim.traits.votes import WindowVotes


@dataclass(frozen=True)
class Windowkv(Paper):
    """capacity: prompt tokens kept on average over layers (paper: 512 to 2048); window: last queries that vote (16 or
    32); block: tokens kept together (8); shared_layers: that share a choice (8); beta: of PyramidKV's budgets.
    """

    capacity: int = 1024
    window: int = 32
    block: int = 8
    shared_layers: int = 8
    beta: int = 20

    title = "WindowKV"
    arxiv = "2503.17922"
    repo = "optim996/WindowKV"
    knob = "capacity"

    def __post_init__(self) -> None:
        require_window(self.window, self.capacity)
        require(self.block >= 1, f"block must be at least 1, but got {self.block}")
        require(self.shared_layers >= 1, f"shared_layers must be at least 1, but got {self.shared_layers}")
        require(self.beta >= 1, f"beta must be at least 1, but got {self.beta}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Published code reads each block's score on the host and caches every query head."""
        published = fidelity == "published"
        syncs = 1 / self.block if published else 0.0
        scorer = WindowVotes(self.window, 1, blocks=self.block, shared_layers=self.shared_layers, syncs_per_token=syncs)
        retention = Budgeted(Pyramid(self.capacity, window=self.window, beta=self.beta), scorer, repeat_heads=published)
        return Traits(retention=retention, prefill=Classifier(), reuse="none")
