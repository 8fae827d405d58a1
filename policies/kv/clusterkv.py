"""ClusterKV: Manipulating LLM KV Cache in Semantic Space for Recallable Compression. arXiv:2412.03213.

Keys of a prompt are clustered; a step compares its query with the centroids and reads the best clusters' tokens. All
tokens stay: in HBM, or in host memory as `clusterkv+offload`, where only what was not read last time is fetched. Code:
sjtu-zhao-lab/ClusterKV.
"""

from dataclasses import dataclass
from types import MappingProxyType

from kvsim.traits.clusters import Represented
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.profile import assumed


@dataclass(frozen=True)
class Clusterkv(Paper):
    """budget: tokens read by choice (1024 to 2048); size: tokens of a cluster, on average (80); sinks: first tokens
    read (16); window: newest tokens read, until they are clustered (320); iterations: of k-means (20); dense_layers:
    that read all (2).
    """

    budget: int = 1024
    size: int = 80
    sinks: int = 16
    window: int = 320
    iterations: int = 20
    dense_layers: int = 2

    title = "ClusterKV"
    arxiv = "2412.03213"
    repo = "sjtu-zhao-lab/ClusterKV"
    above_full = "centroids, and each token's cluster"
    figures = MappingProxyType({"missed_tokens": assumed(0.4, spread=0.3)})

    def __post_init__(self) -> None:
        for name in ("budget", "size", "iterations"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1, but got {getattr(self, name)}")
        for name in ("sinks", "window", "dense_layers"):
            require(getattr(self, name) >= 0, f"{name} must be at least 0, but got {getattr(self, name)}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Both fidelities are one; offloaded, published code holds what was chosen for every query head."""
        missed = self.profile()["missed_tokens"].mean
        always = self.sinks + self.window
        index = {"token_bytes": 4, "iterations": self.iterations, "dense_layers": self.dense_layers}
        return Traits(selection=Represented(self.size, self.budget, always, missed=missed, **index), reuse="none")
