"""Layer-wise offloading to host DRAM, as FlexGen (arXiv:2303.06865) and Hugging Face's offloaded cache do it."""

from dataclasses import dataclass

from kvsim.traits.placement import HostResident
from kvsim.traits.policy import Fidelity, Paper, Traits, require


@dataclass(frozen=True)
class Offload(Paper):
    """buffers: layers of HBM set aside (double-buffered: 2)."""

    buffers: int = 2

    title = "Layer-wise offload"
    arxiv = "2303.06865"
    repo = "huggingface/transformers"

    def __post_init__(self) -> None:
        require(self.buffers >= 2, f"buffers must be at least 2 (one computes, one fills), but got {self.buffers}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Ideal appends the new token, as FlexGen does; published copies the whole layer back (transformers 5.2)."""
        return Traits(placement=HostResident(False, self.buffers, fidelity == "published"))
