"""VcLLM: Video Codecs are Secretly Tensor Codecs. arXiv:2407.00467.

Tensors are laid out as video frames and pass through the GPU's fixed-function encoder and decoder on their way. The
codec is a stage with a rate of its own: often slower than the link it is meant to relieve.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from kvsim.cost.devices.transit import Transit
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.profile import Figure, assumed


@dataclass(frozen=True)
class Vcllm(Paper):
    """bits: of an element in transit (its abstract has no number; 0: the profile's, from a third party's 2.7x on an
    LLM's cache); chunk: tokens of a frame (assumed)."""

    bits: float = 0.0
    chunk: int = 256

    title = "VcLLM"
    arxiv = "2407.00467"
    figures = MappingProxyType({"bits_in_transit": assumed(16 / 2.7)})

    def __post_init__(self) -> None:
        require(0 <= self.bits <= 16, f"bits must be in [0, 16], but got {self.bits}")
        require(self.chunk >= 1, f"chunk must be at least 1, but got {self.chunk}")

    def profile(self) -> Mapping[str, Figure]:
        """How far frames compress depends on data, unless it is given."""
        return {} if self.bits else super().profile()

    def traits(self, fidelity: Fidelity) -> Traits:
        """Nothing about the cache in HBM."""
        return Traits()

    def transit(self, fidelity: Fidelity) -> Transit:
        """Eight bits a pixel in, decoded by the chip's codec."""
        return Transit((self.bits or self.profile()["bits_in_transit"].mean,), "codec", chunk_tokens=self.chunk)
