"""More for Keys, Less for Values: Adaptive KV Cache Quantization. arXiv:2502.15075, mohsenhariri/spectral-kv.

Keys have larger norms than values, so they get more bits, in KIVI's layout.
"""

from dataclasses import dataclass

from kvsim.traits.encoding import GroupQuantizer
from kvsim.traits.policy import Fidelity, Paper, Traits, require


@dataclass(frozen=True)
class KvAdaquant(Paper):
    """key_bits, value_bits: of a code (4 and 2); group: elements that share a scale (64); residual: newest tokens at 16
    bits (32 to 64).
    """

    key_bits: int = 4
    value_bits: int = 2
    group: int = 64
    residual: int = 64

    title = "KV-AdaQuant"
    arxiv = "2502.15075"
    repo = "mohsenhariri/spectral-kv"
    knob = ("key_bits", "value_bits")

    def __post_init__(self) -> None:
        for name in ("key_bits", "value_bits"):
            require(getattr(self, name) in (1, 2, 4, 8), f"{name} must be 1, 2, 4 or 8, but got {getattr(self, name)}")
        require(self.group >= 1, f"group must be at least 1, but got {self.group}")
        fits = self.residual > 0 and self.residual % self.group == 0
        require(fits, f"residual must be a multiple of group ({self.group}), but got {self.residual}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Published code runs on Hugging Face's quantized cache, which copies to append."""
        copies = fidelity == "published"
        quantizer = GroupQuantizer(self.key_bits, self.group, self.residual, copies, self.value_bits)
        return Traits(quantizer=quantizer, reuse="none" if copies else "prefix")
