"""KVSharer: Efficient Inference via Layer-Wise Dissimilar KV Cache Sharing. arXiv:2410.18517, yangyifei729/KVSharer.

Layers whose caches differ most are tied offline: the later one stores nothing and reads the earlier one's. Attention
still reads a tied layer's rows.
"""

from dataclasses import dataclass

from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.shared_layers import TiedLayers


@dataclass(frozen=True)
class Kvsharer(Paper):
    """share: of the layers that are tied (repository: 4 to 8 of 32; abstract: about 0.3)."""

    share: float = 0.25

    title = "KVSharer"
    arxiv = "2410.18517"
    repo = "yangyifei729/KVSharer"
    knob = "share"

    def __post_init__(self) -> None:
        require(0 <= self.share < 1, f"share must be in [0, 1), but got {self.share}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Published code computes keys and values of tied layers, and throws them away."""
        return Traits(sharing=TiedLayers(self.share, fidelity == "ideal"))
