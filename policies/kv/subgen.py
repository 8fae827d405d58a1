"""SubGen: Token Generation in Sublinear Time and Memory. arXiv:2402.06082.

Keys are clustered in the order in which they come; representatives and samples of each cluster estimate the softmax's
sum, rows drawn by the norms of their values its numerator. No code was named; sizes are not published with the method.
"""

from dataclasses import dataclass
from types import MappingProxyType

from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.profile import assumed
from kvsim.traits.stream_clusters import RowsAndKeys, StreamClusters


@dataclass(frozen=True)
class Subgen(Paper):
    """recent: newest tokens that stay whole (512, assumed); rows: sampled by values' norms (512, assumed); samples:
    keys drawn from each cluster (4, assumed); radius: distance at which a key begins a cluster (1.0, assumed).
    """

    recent: int = 512
    rows: int = 512
    samples: int = 4
    radius: float = 1.0

    title = "SubGen"
    arxiv = "2402.06082"
    knob = ("recent", "rows")
    above_full = "weights of keys and rows"
    figures = MappingProxyType({"clusters": assumed(4.0, spread=0.5), "exponent": assumed(0.5, spread=0.3)})

    def __post_init__(self) -> None:
        for name in ("recent", "rows", "samples"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1, but got {getattr(self, name)}")
        require(self.radius > 0, f"radius must be positive, but got {self.radius}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """n tokens form clusters x n ^ exponent clusters: figures that data and the radius decide."""
        profile = self.profile()
        retention = StreamClusters(
            self.recent, self.rows, self.samples, profile["clusters"].mean, profile["exponent"].mean, self.radius
        )
        return Traits(retention=retention, quantizer=RowsAndKeys(), reuse="none")
