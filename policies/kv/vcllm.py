"""VcLLM: Video Codecs are Secretly Tensor Codecs. arXiv:2407.00467.

Tensors are laid out as video frames and pass through the GPU's fixed-function encoder and decoder on their way. The
codec is a stage with a rate of its own: often slower than the link it is meant to relieve.
"""

from dataclasses import dataclass

from kvsim.cost.devices.transit import Transit
from kvsim.traits.policy import Fidelity, Paper, Traits, require


@dataclass(frozen=True)
class Vcllm(Paper):
    """bits: of an element in transit (16 / 2.7: a third party's 2.7x on an LLM's cache, in the paper's spirit; its
    abstract has no number); chunk: tokens of a frame (assumed)."""

    bits: float = 5.9
    chunk: int = 256

    title = "VcLLM"
    arxiv = "2407.00467"

    def __post_init__(self) -> None:
        require(0 < self.bits <= 16, f"bits must be in (0, 16], but got {self.bits}")
        require(self.chunk >= 1, f"chunk must be at least 1, but got {self.chunk}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Nothing about the cache in HBM."""
        return Traits()

    def transit(self, fidelity: Fidelity) -> Transit:
        """Eight bits a pixel in, decoded by the chip's codec."""
        return Transit((self.bits,), "codec", chunk_tokens=self.chunk)
