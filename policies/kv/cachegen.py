"""CacheGen: Fast Context Loading for Language Model Applications. arXiv:2310.07240, UChi-JCL/CacheGen (LMCache).

A reusable context's cache rests remotely as a compressed bit stream; a chunk is decoded on the GPU while the next one
arrives, and the cache is full width from then on. `kvsim op load` prices the way; decode steps cost what `full` does.
"""

from dataclasses import dataclass

from kvsim.cost.devices.transit import Transit
from kvsim.traits.policy import Fidelity, Paper, Traits, require


@dataclass(frozen=True)
class Cachegen(Paper):
    """bits: of an element in transit (abstract: 3.7 to 4.3 times smaller; taken against 8 bits, so 2.0 is assumed);
    tables: bits an element of the symbols' distributions (released code: 2.06 at 32 bins and 256 tokens; ideal: sent
    once a model); rate: elements decoded a second on the GPU (assumed); chunk: tokens encoded together (released)."""

    bits: float = 2.0
    tables: float = 2.06
    rate: float = 2e10
    chunk: int = 256

    title = "CacheGen"
    arxiv = "2310.07240"
    repo = "UChi-JCL/CacheGen"

    def __post_init__(self) -> None:
        require(0 < self.bits <= 16, f"bits must be in (0, 16], but got {self.bits}")
        require(self.tables >= 0, f"tables must be at least 0, but got {self.tables}")
        require(self.rate > 0, f"rate must be more than 0, but got {self.rate}")
        require(self.chunk >= 1, f"chunk must be at least 1, but got {self.chunk}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Nothing about the cache in HBM."""
        return Traits()

    def transit(self, fidelity: Fidelity) -> Transit:
        """Levels of fewer bins are a quarter and two fifths smaller (assumed); released code sends tables by chunk."""
        tables = self.tables if fidelity == "published" else 0.0
        bits = tuple(tables + self.bits * share for share in (1.0, 0.75, 0.6))
        return Transit(bits, "gpu", self.rate, self.chunk)
