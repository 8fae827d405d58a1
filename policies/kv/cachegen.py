"""CacheGen: Fast Context Loading for Language Model Applications. arXiv:2310.07240, UChi-JCL/CacheGen (LMCache).

A reusable context's cache rests remotely as a compressed bit stream; a chunk is decoded on the GPU while the next one
arrives, and the cache is full width from then on. `kvsim op load` prices the way; decode steps cost what `full` does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from kvsim.cost.devices.transit import Transit
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.profile import Figure, assumed


@dataclass(frozen=True)
class Cachegen(Paper):
    """bits: of an element in transit (abstract: 3.7 to 4.3 times smaller; 0: the profile's, 2.0 as if against 8 bits);
    tables: bits an element of the symbols' distributions (released code: 2.06 at 32 bins and 256 tokens; ideal: sent
    once a model); rate: elements decoded a second on the GPU (assumed); chunk: tokens encoded together (released)."""

    bits: float = 0.0
    tables: float = 2.06
    rate: float = 2e10
    chunk: int = 256

    title = "CacheGen"
    arxiv = "2310.07240"
    repo = "UChi-JCL/CacheGen"
    figures = MappingProxyType({"bits_in_transit": assumed(2.0)})

    def __post_init__(self) -> None:
        require(0 <= self.bits <= 16, f"bits must be in [0, 16], but got {self.bits}")
        require(self.tables >= 0, f"tables must be at least 0, but got {self.tables}")
        require(self.rate > 0, f"rate must be more than 0, but got {self.rate}")
        require(self.chunk >= 1, f"chunk must be at least 1, but got {self.chunk}")

    def profile(self) -> Mapping[str, Figure]:
        """How far symbols compress depends on data, unless it is given."""
        return {} if self.bits else super().profile()

    def traits(self, fidelity: Fidelity) -> Traits:
        """Nothing about the cache in HBM."""
        return Traits()

    def transit(self, fidelity: Fidelity) -> Transit:
        """Levels of fewer bins are a quarter and two fifths smaller (assumed); released code sends tables by chunk."""
        tables = self.tables if fidelity == "published" else 0.0
        mean = self.bits or self.profile()["bits_in_transit"].mean
        bits = tuple(tables + mean * share for share in (1.0, 0.75, 0.6))
        return Transit(bits, "gpu", self.rate, self.chunk)
