"""ZipCache: Accurate and Efficient KV Cache Quantization with Salient Token Identification. arXiv:2405.14256.

Salient tokens take 4 bits, the others 2; a few probe queries say which are salient, so that all others run in a fused
kernel. The newest tokens wait until a block of them is coded with all others. Code: ThisisBillhe/ZipCache.
"""

from dataclasses import dataclass

from kvsim.traits.classes import ByClass, Salience, SeparableCodes, Uncoded
from kvsim.traits.policy import Fidelity, Paper, Traits, require


@dataclass(frozen=True)
class Zipcache(Paper):
    """salient: share of coded tokens at more bits (0.6); high_bits, low_bits: 4 and 2; gap: tokens between codings
    (100); probes: share of queries that are probes (the last 5 % and 5 % at random).
    """

    salient: float = 0.6
    high_bits: int = 4
    low_bits: int = 2
    gap: int = 100
    probes: float = 0.1

    title = "ZipCache"
    arxiv = "2405.14256"
    repo = "ThisisBillhe/ZipCache"
    knob = "salient"
    above_full = "scales of channels, of few tokens, and scores"

    def __post_init__(self) -> None:
        require(0 <= self.salient <= 1, f"salient must be in [0, 1], but got {self.salient}")
        require(self.high_bits in (2, 4, 8), f"high_bits must be 2, 4 or 8, but got {self.high_bits}")
        require(self.low_bits in (1, 2, 4), f"low_bits must be 1, 2 or 4, but got {self.low_bits}")
        require(self.gap >= 1, f"gap must be at least 1, but got {self.gap}")
        require(0 < self.probes <= 1, f"probes must be in (0, 1], but got {self.probes}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Both fidelities are one, but that published code names tokens by 64-bit ids."""
        codes = (SeparableCodes(self.high_bits), SeparableCodes(self.low_bits), Uncoded())
        retention = Salience(self.salient, self.gap, self.probes)
        return Traits(retention=retention, quantizer=ByClass(each=codes, block=self.gap, joint=True), reuse="none")
