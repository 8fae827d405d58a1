"""ClusterKV: Manipulating LLM KV Cache in Semantic Space for Recallable Compression. arXiv:2412.03213.

Keys are clustered by direction; a step compares its query with centroids and recalls the tokens of the best clusters
from host DRAM, unless the step before had them. Code: sjtu-zhao-lab/ClusterKV.
"""

from dataclasses import dataclass
from types import MappingProxyType

from kvsim.traits.clusters import Clusters
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.profile import assumed
from kvsim.traits.recalled import Recalled


@dataclass(frozen=True)
class Clusterkv(Paper):
    """budget: tokens of clusters that are read (paper: 1024 to 2048); sinks: first tokens that always are (16); each:
    tokens of a cluster (80); window: newest tokens that are clustered at a time (320); iterations: of k-means
    (20 at most); dense_layers: first layers that read everything (2); offload: rows rest in host DRAM, not in HBM.
    """

    budget: int = 1024
    sinks: int = 16
    each: int = 80
    window: int = 320
    iterations: int = 20
    dense_layers: int = 2
    offload: bool = True

    title = "ClusterKV"
    arxiv = "2412.03213"
    repo = "sjtu-zhao-lab/ClusterKV"
    knob = "budget"
    above_full = "centroids, and the cluster of each token"
    figures = MappingProxyType({"misses": assumed(0.37, spread=0.3)})  # of what the step before had not chosen

    def __post_init__(self) -> None:
        for name in ("budget", "each", "iterations"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1, but got {getattr(self, name)}")
        for name in ("sinks", "dense_layers"):
            require(getattr(self, name) >= 0, f"{name} must be at least 0, but got {getattr(self, name)}")
        fits = self.window >= self.each and self.window % self.each == 0
        require(fits, f"window must be a multiple of each ({self.each}), but got {self.window}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Released code holds and recalls rows for every query head; clusters are made for each request."""
        misses = self.profile()["misses"].mean
        selection = Clusters(
            self.budget, self.sinks, self.each, self.window, self.iterations, self.dense_layers, misses
        )
        placement = None
        if self.offload:
            held = self.sinks + self.budget + self.window
            repeat = fidelity == "published"
            placement = Recalled(held, self.dense_layers, repeat)
        return Traits(selection=selection, placement=placement, reuse="none")
