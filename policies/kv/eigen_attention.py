"""Eigen Attention: Attention in Low-Rank Space for KV Cache Compression. arXiv:2408.05646, UtkarshSaxena1/EigenAttn.

Bases found offline fold into the projections: keys and values are computed and cached narrow. With rotary positions
every cached key is widened at each step; values stay narrow up to the output projection.
"""

from dataclasses import dataclass

from kvsim.traits.bases import Latent
from kvsim.traits.policy import Fidelity, Paper, Traits, require


@dataclass(frozen=True)
class EigenAttention(Paper):
    """key_keep, value_keep: ranks as shares of the full widths (paper: up to 40 % fewer dimensions, by an error
    budget).
    """

    key_keep: float = 0.6
    value_keep: float = 0.6

    title = "Eigen Attention"
    arxiv = "2408.05646"
    repo = "UtkarshSaxena1/EigenAttn"
    knob = ("key_keep", "value_keep")

    def __post_init__(self) -> None:
        for name in ("key_keep", "value_keep"):
            require(0 < getattr(self, name) <= 1, f"{name} must be in (0, 1], but got {getattr(self, name)}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Both fidelities are one: the released code widens all keys at each step too."""
        return Traits(basis=Latent(self.key_keep, self.value_keep))
