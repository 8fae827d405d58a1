"""RotateKV: Accurate and Robust 2-Bit KV Cache Quantization via Outlier-Aware Adaptive Rotations. arXiv:2501.16383.

Keys are rotated over the channels of several heads before RoPE, then keys and values are rounded per token; tokens that
draw most attention stay at 16 bits. Code: ZunhaiSu/RotateKV.
"""

from dataclasses import dataclass

from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.quantizers import Simulated, TokenQuantizer
from kvsim.traits.rotations import Hadamard


@dataclass(frozen=True)
class Rotatekv(Paper):
    """bits: of a code (2, 3 or 4); group: channels that share a scale (128); heads: kv heads that are rotated together
    (4); sinks: tokens at 16 bits (20).
    """

    bits: int = 2
    group: int = 128
    heads: int = 4
    sinks: int = 20

    title = "RotateKV"
    arxiv = "2501.16383"
    repo = "ZunhaiSu/RotateKV"
    above_full = "its whole tokens' slot numbers"
    knob = "bits"

    def __post_init__(self) -> None:
        require(self.bits in (2, 3, 4), f"bits must be 2, 3 or 4, but got {self.bits}")
        require(self.group >= 1, f"group must be at least 1, but got {self.group}")
        require(self.heads >= 1, f"heads must be at least 1, but got {self.heads}")
        require(self.sinks >= 0, f"sinks must be at least 0, but got {self.sinks}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Published code rounds and stores 16 bits."""
        if fidelity == "published":
            return Traits(quantizer=Simulated(), reuse="none")
        clip = 0.8 if self.bits == 2 else 1.0  # as its scripts set it
        return Traits(basis=Hadamard(self.heads), quantizer=TokenQuantizer(self.bits, self.group, self.sinks, clip))
