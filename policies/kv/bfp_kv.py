"""Accurate Block Quantization in LLMs with Outliers. arXiv:2403.20137.

Keys and values in block floating point: an exponent for each block of channels, which are ordered offline so that loud
ones share blocks. The width of its halved cache is not in the abstract: 8 bits are assumed. No code was released.
"""

from dataclasses import dataclass

from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.quantizers import BlockFloat


@dataclass(frozen=True)
class BfpKv(Paper):
    """bits: sign and mantissa of an element; block: channels that share an 8-bit exponent; native: hardware multiplies
    blocks as they are.
    """

    bits: int = 7
    block: int = 8
    native: bool = False

    title = "BFP cache"
    arxiv = "2403.20137"
    knob = "bits"

    def __post_init__(self) -> None:
        require(2 <= self.bits <= 16, f"bits must be in [2, 16], but got {self.bits}")
        require(self.block >= 1, f"block must be at least 1, but got {self.block}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """There is no published code to differ from."""
        return Traits(quantizer=BlockFloat(self.bits, self.block, self.native))
