"""Cache Me If You Must: Adaptive Key-Value Quantization for Large Language Models. arXiv:2501.19392.

Each layer's keys and values are predicted from the layer before by small linear maps, and only what the prediction
misses is coded, on a grid after a rotation. Reading a layer takes a matrix product for every cached token. Code:
goodevening13/aquakv.
"""

from dataclasses import dataclass

from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.predicted import Predicted


@dataclass(frozen=True)
class AquaKv(Paper):
    """bits: an element (2, 3 or 4); first_bits: in the first layer (4); group: channels rotated together, with one
    scale (1024); sinks: first tokens at 16 bits (4); buffer: newest tokens at 16 bits at least, coded as many at a time
    (128).
    """

    bits: int = 2
    first_bits: int = 4
    group: int = 1024
    sinks: int = 4
    buffer: int = 128

    title = "AQUA-KV"
    arxiv = "2501.19392"
    repo = "goodevening13/aquakv"
    knob = "bits"

    def __post_init__(self) -> None:
        for name in ("bits", "first_bits"):
            require(getattr(self, name) in (2, 3, 4), f"{name} must be 2, 3 or 4, but got {getattr(self, name)}")
        require(self.group >= 2, f"group must be at least 2, but got {self.group}")
        require(self.sinks >= 0, f"sinks must be at least 0, but got {self.sinks}")
        require(self.buffer >= 1, f"buffer must be at least 1, but got {self.buffer}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Both fidelities are one: the prototype rebuilds every layer at each step as well."""
        return Traits(
            quantizer=Predicted(self.bits, self.first_bits, self.group, self.sinks, self.buffer), reuse="none"
        )
