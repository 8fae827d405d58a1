"""ZigZagKV: Dynamic KV Cache Compression for Long-context Modeling based on Layer Uncertainty. arXiv:2412.09036.

Layers whose attention needs more tokens to add up to the same share get more of the budget; within a layer the last
queries choose. No code was read.
"""

from dataclasses import dataclass
from types import MappingProxyType

from kvsim.traits.budgeted import Budgeted
from kvsim.traits.budgets import LayerShares
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.profile import assumed
from kvsim.traits.votes import VotesAndSpread


@dataclass(frozen=True)
class Zigzagkv(Paper):
    """keep: share of the prompt that layers keep on average (paper: about 0.2); window: last queries that vote (32)."""

    keep: float = 0.2
    window: int = 32

    title = "ZigZagKV"
    arxiv = "2412.09036"
    knob = "keep"
    figures = MappingProxyType({"layer_uncertainty": assumed(1.5, 1.0, 0.5, 1.0, spread=0.3)})

    def __post_init__(self) -> None:
        require(0 < self.keep <= 1, f"keep must be in (0, 1], but got {self.keep}")
        require(self.window >= 1, f"window must be at least 1, but got {self.window}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """There is no published code to differ from."""
        uncertainty = self.profile()["layer_uncertainty"]
        budget = LayerShares(parts=(self.keep,), figure=uncertainty, least=self.window, measure="uncertainty")
        return Traits(retention=Budgeted(budget, VotesAndSpread(self.window, gamma=0.0)), reuse="none")
