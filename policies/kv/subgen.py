"""SubGen: Token Generation in Sublinear Time and Memory. arXiv:2402.06082.

Keys are clustered as they come; representatives and a few samples of each cluster stand for the softmax's normalizer,
sampled values for its numerator. How clusters grow with tokens depends on the keys: scale and power are assumed. No
code was released.
"""

from dataclasses import dataclass
from types import MappingProxyType

from kvsim.traits.depth import Sublinear
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.profile import assumed


@dataclass(frozen=True)
class Subgen(Paper):
    """samples: keys of a cluster, besides its representative; values: sampled rows of values; recent: newest tokens
    that stay.
    """

    samples: int = 4
    values: int = 256
    recent: int = 128

    title = "SubGen"
    arxiv = "2402.06082"
    figures = MappingProxyType({"cluster_scale": assumed(2.0, spread=0.3), "cluster_power": assumed(0.5, spread=0.1)})

    def __post_init__(self) -> None:
        for name in ("samples", "values", "recent"):
            require(getattr(self, name) >= 0, f"{name} must be at least 0, but got {getattr(self, name)}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """There is no published code to differ from."""
        figures = self.profile()
        growth = figures["cluster_scale"].mean, figures["cluster_power"].mean
        return Traits(retention=Sublinear(*growth, self.samples, self.values, self.recent), reuse="none")
