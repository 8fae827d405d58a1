"""MatryoshkaKV: Adaptive KV Compression via Trainable Orthogonal Projection. arXiv:2410.14731.

Each head's keys and values in the first coordinates of a learnt orthogonal basis; how many, layers and heads choose
under a common budget. Here all have the mean.
"""

from dataclasses import dataclass

from kvsim.traits.bases import Projected
from kvsim.traits.policy import Fidelity, Paper, Traits, require


@dataclass(frozen=True)
class Matryoshkakv(Paper):
    """key_keep, value_keep: shares of a head's channels, on average (paper: 0.4; 0.25 in extreme cases)."""

    key_keep: float = 0.4
    value_keep: float = 0.4

    title = "MatryoshkaKV"
    arxiv = "2410.14731"
    knob = ("key_keep", "value_keep")

    def __post_init__(self) -> None:
        for name in ("key_keep", "value_keep"):
            require(0 < getattr(self, name) <= 1, f"{name} must be in (0, 1], but got {getattr(self, name)}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """There is no published code to differ from."""
        return Traits(basis=Projected(self.key_keep, self.value_keep))
