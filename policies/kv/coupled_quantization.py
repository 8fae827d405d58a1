"""KV Cache is 1 Bit Per Channel: LLM Inference with Coupled Quantization. arXiv:2405.03917.

Neighbouring channels are one index into a table that was learnt for their head: 8 channels in 8 bits are 1 bit a
channel. No code was released.
"""

from dataclasses import dataclass

from kvsim.traits.codebooks import Coupled
from kvsim.traits.policy import Fidelity, Paper, Traits, require


@dataclass(frozen=True)
class CoupledQuantization(Paper):
    """channels: that share an index (8; 4 for 2 bits a channel); code_bits: of an index (8)."""

    channels: int = 8
    code_bits: int = 8

    title = "CQ"
    arxiv = "2405.03917"
    knob = "channels"

    def __post_init__(self) -> None:
        require(self.channels >= 1, f"channels must be at least 1, but got {self.channels}")
        require(1 <= self.code_bits <= 16, f"code_bits must be in [1, 16], but got {self.code_bits}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """There is no published code to differ from."""
        return Traits(quantizer=Coupled(channels=self.channels, code_bits=self.code_bits))
