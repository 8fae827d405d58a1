"""ZipVL: Efficient Large Vision-Language Models with Dynamic Token Sparsification. arXiv:2410.08584.

How many tokens matter in a layer follows from how concentrated its attention is; a prompt's attention runs among those,
and their rows take more bits than the others'. Widths and shares are not in the abstract. No code was read.
"""

from dataclasses import dataclass
from types import MappingProxyType

from kvsim.traits.auxiliary import ImportantPairs
from kvsim.traits.classes import ByClass, Salience, SeparableCodes
from kvsim.traits.encoding import Quantizer
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.profile import assumed


@dataclass(frozen=True)
class Zipvl(Paper):
    """high_bits, low_bits: of important tokens and of others; gap: tokens between codings; probes: share of queries
    that say which are important.
    """

    high_bits: int = 4
    low_bits: int = 2
    gap: int = 100
    probes: float = 0.1

    title = "ZipVL"
    arxiv = "2410.08584"
    above_full = "scales of channels, of few tokens"
    figures = MappingProxyType({"important_tokens": assumed(0.4, spread=0.3)})

    def __post_init__(self) -> None:
        require(self.high_bits in (2, 4, 8), f"high_bits must be 2, 4 or 8, but got {self.high_bits}")
        require(self.low_bits in (1, 2, 4), f"low_bits must be 1, 2 or 4, but got {self.low_bits}")
        require(self.gap >= 1, f"gap must be at least 1, but got {self.gap}")
        require(0 < self.probes <= 1, f"probes must be in (0, 1], but got {self.probes}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """There is no published code to differ from."""
        share = self.profile()["important_tokens"].mean
        codes = (SeparableCodes(self.high_bits), SeparableCodes(self.low_bits), Quantizer())
        return Traits(
            retention=Salience(share, self.gap, self.probes),
            quantizer=ByClass(each=codes, block=self.gap, joint=True),
            prefill=ImportantPairs(share),
            reuse="none",
        )
