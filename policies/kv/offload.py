"""Layer-wise offloading to host DRAM, as FlexGen (arXiv:2303.06865) and Hugging Face's offloaded cache do it."""

from dataclasses import dataclass

from kvsim.traits.placement import FETCH, HostResident
from kvsim.traits.policy import Fidelity, Paper, Traits, require


@dataclass(frozen=True)
class Offload(Paper):
    """buffers: layers of HBM set aside (double-buffered: 2); tier: where the cache rests; resident: layers
    that stay in HBM; grain: contiguous bytes of one read from a drive (0: a stream, as layers in files are)."""

    buffers: int = 2
    tier: str = "dram"
    resident: int = 0
    grain: int = 0

    title = "Layer-wise offload"
    arxiv = "2303.06865"
    repo = "huggingface/transformers"

    def __post_init__(self) -> None:
        require(self.buffers >= 2, f"buffers must be at least 2 (one computes, one fills), but got {self.buffers}")
        require(self.tier in FETCH, f"tier must be one of {', '.join(FETCH)}, but got {self.tier!r}")
        require(self.grain >= 0, f"grain must be at least 0, but got {self.grain}")
        require(self.resident >= 0, f"resident must be at least 0, but got {self.resident}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Ideal appends the new token, as FlexGen does; published copies the whole layer back (transformers 5.2)."""
        return Traits(
            placement=HostResident(False, self.buffers, fidelity == "published", self.tier, self.resident, self.grain)
        )
