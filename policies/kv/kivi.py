"""KIVI: A Tuning-Free Asymmetric 2bit Quantization for KV Cache. arXiv:2402.02750, jy-yuan/KIVI.

Keys per channel, values per token, group-wise with fp16 scale and minimum; the newest tokens stay at 16 bits.
"""

from dataclasses import dataclass

from kvsim.traits.encoding import GroupQuantizer
from kvsim.traits.policy import Fidelity, Paper, Traits, require


@dataclass(frozen=True)
class Kivi(Paper):
    """bits: of a code (2 or 4); group: elements that share a scale; residual: newest tokens at 16 bits (repo: 128)."""

    bits: int = 2
    group: int = 32
    residual: int = 128

    title = "KIVI"
    arxiv = "2402.02750"
    repo = "jy-yuan/KIVI"
    knob = "bits"

    def __post_init__(self) -> None:
        require(self.bits in (2, 4, 8), f"bits must be 2, 4 or 8, but got {self.bits}")
        require(self.group in (32, 64, 128), f"group must be 32, 64 or 128, but got {self.group}")
        fits = self.residual > 0 and self.residual % self.group == 0
        require(fits, f"residual must be a multiple of group ({self.group}), but got {self.residual}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Published code copies all value codes each step to append one (`cat`); it has no paged prefix cache."""
        copies = fidelity == "published"
        quantizer = GroupQuantizer(self.bits, self.group, self.residual, copies)
        return Traits(quantizer=quantizer, reuse="none" if copies else "prefix")
