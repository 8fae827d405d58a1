"""No Token Left Behind: Reliable KV Cache Compression via Importance-Aware Mixed Precision. arXiv:2402.18096.

Tokens that matter less are not dropped but kept at fewer bits; channels that are loud in queries or keys are balanced
first. No code was released; the share of important tokens is free.
"""

from dataclasses import dataclass

from kvsim.traits.classes import ByClass, Importance
from kvsim.traits.encoding import Quantizer
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.quantizers import TokenQuantizer
from kvsim.traits.scorers import AccumulatedScores


@dataclass(frozen=True)
class Mikv(Paper):
    """important: share of tokens at more bits; high_bits: theirs (16, 8 or 4); low_bits: the others' (2 to 4); group:
    channels that share a scale.
    """

    important: float = 0.2
    high_bits: int = 16
    low_bits: int = 2
    group: int = 64

    title = "MiKV"
    arxiv = "2402.18096"
    knob = "important"
    above_full = "a score for each slot, and the balancer"

    def __post_init__(self) -> None:
        require(0 <= self.important <= 1, f"important must be in [0, 1], but got {self.important}")
        require(self.high_bits in (4, 8, 16), f"high_bits must be 4, 8 or 16, but got {self.high_bits}")
        require(
            2 <= self.low_bits <= self.high_bits, f"low_bits must be in [2, {self.high_bits}], but got {self.low_bits}"
        )
        require(self.group >= 1, f"group must be at least 1, but got {self.group}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """There is no published code to differ from."""
        high = Quantizer() if self.high_bits == 16 else TokenQuantizer(self.high_bits, self.group)
        quantizer = ByClass(each=(high, TokenQuantizer(self.low_bits, self.group)))
        return Traits(retention=Importance(self.important, AccumulatedScores()), quantizer=quantizer, reuse="none")
