"""D2O: Dynamic Discriminative Operations for Efficient Generative Inference of LLMs. arXiv:2406.13035.

H2O with budgets by how concentrated a layer's attention is; a token that goes is averaged into the kept one that is
most like it, if it is like enough. Code: AIoT-MLSys-Lab/D2O.
"""

from dataclasses import dataclass
from types import MappingProxyType

from kvsim.traits.budgeted import Budgeted
from kvsim.traits.budgets import LayerShares
from kvsim.traits.merges import MergeLikely
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.profile import assumed
from kvsim.traits.scorers import AccumulatedScores


@dataclass(frozen=True)
class D2o(Paper):
    """heavy, recent: shares of the prompt kept on average over layers (0.1 each); sinks: first tokens that stay (4).
    The first two layers and the last keep everything.
    """

    heavy: float = 0.1
    recent: float = 0.1
    sinks: int = 4

    title = "D2O"
    arxiv = "2406.13035"
    repo = "AIoT-MLSys-Lab/D2O"
    knob = ("heavy", "recent")
    above_full = "a score for each slot, and thresholds"
    figures = MappingProxyType(
        {"layer_density": assumed(1.4, 1.1, 0.8, 0.7, spread=0.2), "merged_tokens": assumed(0.5, spread=0.3)}
    )

    def __post_init__(self) -> None:
        for name in ("heavy", "recent"):
            require(0 < getattr(self, name) <= 1, f"{name} must be in (0, 1], but got {getattr(self, name)}")
        require(self.sinks >= 0, f"sinks must be at least 0, but got {self.sinks}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Published code writes the score matrix out and gathers the cache at each step."""
        written, figures = fidelity == "published", self.profile()
        shares = (self.heavy, self.recent)
        density = figures["layer_density"]
        budget = LayerShares(parts=shares, figure=density, least=self.sinks, whole=(0, 1, -1), measure="density")
        fate = MergeLikely(share=figures["merged_tokens"].mean)
        scorer = AccumulatedScores(written)
        retention = Budgeted(budget, scorer, fate, sinks=self.sinks, every=1, copies=written)
        return Traits(retention=retention, reuse="none")
