"""CAKE: Cascading and Adaptive KV Cache Eviction with Layer Preferences. arXiv:2503.12491, antgroup/cakekv.

A total budget goes to layers by how spread and how changing their attention is; earlier layers shrink again while later
ones claim their share. Tokens are ranked by the mean of the last queries' votes and their variance.
"""

from dataclasses import dataclass
from types import MappingProxyType

from kvsim.traits.budgeted import Budgeted
from kvsim.traits.budgets import LayerShares
from kvsim.traits.policy import Fidelity, Paper, Traits, require, require_window
from kvsim.traits.profile import assumed
from kvsim.traits.votes import VotesAndSpread


@dataclass(frozen=True)
class Cake(Paper):
    """capacity: prompt tokens kept on average over layers (paper: 128 to 2048); window: last queries that vote (32);
    tau1, tau2: temperatures of entropy and variance in a layer's preference; gamma: weight of the variance in a score.
    """

    capacity: int = 1024
    window: int = 32
    tau1: float = 1.0
    tau2: float = 1.0
    gamma: float = 200.0

    title = "CAKE"
    arxiv = "2503.12491"
    repo = "antgroup/cakekv"
    knob = "capacity"
    figures = MappingProxyType({"layer_preference": assumed(1.6, 1.2, 0.8, 0.4, spread=0.3)})

    def __post_init__(self) -> None:
        require_window(self.window, self.capacity)
        require(
            min(self.tau1, self.tau2) > 0, f"tau1 and tau2 must be more than 0, but got {self.tau1} and {self.tau2}"
        )

    def traits(self, fidelity: Fidelity) -> Traits:
        """Published code reads each layer's preference on the host."""
        preference = self.profile()["layer_preference"]
        budget = LayerShares(self.capacity, figure=preference, least=self.window)
        syncs = 2 if fidelity == "published" else 0
        scorer = VotesAndSpread(self.window, tau1=self.tau1, tau2=self.tau2, gamma=self.gamma, syncs=syncs)
        return Traits(retention=Budgeted(budget, scorer), reuse="none")
