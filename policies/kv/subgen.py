"""SubGen: Token Generation in Sublinear Time and Memory. arXiv:2402.06082.

Keys are clustered in the order in which they come; representatives and samples of each cluster estimate the softmax's
sum, rows drawn by the norms of their values its numerator. No code was named; sizes are not published with the method.
"""

from dataclasses import dataclass

from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.stream_clusters import RowsAndKeys, StreamClusters


@dataclass(frozen=True)
class Subgen(Paper):
    """recent: newest tokens that stay whole (512, assumed); rows: sampled by values' norms (512, assumed); samples:
    keys drawn from each cluster (4, assumed); clusters, exponent: n tokens form clusters x n ^ exponent of them (4 and
    0.5, assumed: sublinear, as the method needs).
    """

    recent: int = 512
    rows: int = 512
    samples: int = 4
    clusters: float = 4.0
    exponent: float = 0.5

    title = "SubGen"
    arxiv = "2402.06082"
    knob = ("recent", "rows", "clusters")
    above_full = "weights of keys and rows"

    def __post_init__(self) -> None:
        for name in ("recent", "rows", "samples"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1, but got {getattr(self, name)}")
        require(self.clusters > 0, f"clusters must be positive, but got {self.clusters}")
        require(0 < self.exponent <= 1, f"exponent must be in (0, 1], but got {self.exponent}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Nobody named code; how many clusters there may be is set, as in the paper's experiments."""
        retention = StreamClusters(self.recent, self.rows, self.samples, self.clusters, self.exponent)
        return Traits(retention=retention, quantizer=RowsAndKeys(), reuse="none")
