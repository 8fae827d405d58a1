"""SqueezeAttention: 2D Management of KV-Cache via Layer-wise Optimal Budget. arXiv:2404.04793.

Layers whose attention hardly turns the hidden state give budget to the others, at the same total; within a layer sinks
and the newest tokens stay. Defaults are those of hetailang/SqueezeAttention for Llama-2-7B-32K with StreamingLLM.
"""

from dataclasses import dataclass
from types import MappingProxyType

from kvsim.traits.budgeted import Budgeted
from kvsim.traits.budgets import LowLayers
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.profile import assumed
from kvsim.traits.scorers import LayerCosine


@dataclass(frozen=True)
class Squeezeattention(Paper):
    """keep: share of the prompt that layers keep on average (0.4); low: share that the least important third of layers
    keeps (0.25); sinks: first tokens that stay (4).
    """

    keep: float = 0.4
    low: float = 0.25
    sinks: int = 4

    title = "SqueezeAttention"
    arxiv = "2404.04793"
    repo = "hetailang/SqueezeAttention"
    knob = "keep"
    figures = MappingProxyType({"low_layers": assumed(0.5, spread=0.2)})

    def __post_init__(self) -> None:
        require(
            0 < self.low <= self.keep <= 1,
            f"low and keep must be in (0, 1], low the smaller, but got {self.low}, {self.keep}",
        )
        require(self.sinks >= 0, f"sinks must be at least 0, but got {self.sinks}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Both cluster the layers on the host; published code concatenates the cache at each step."""
        budget = LowLayers(parts=(self.keep,), low=self.low, figure=self.profile()["low_layers"])
        retention = Budgeted(budget, LayerCosine(), sinks=self.sinks, every=1, copies=fidelity == "published")
        return Traits(retention=retention, reuse="none")
