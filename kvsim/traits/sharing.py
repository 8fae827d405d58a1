"""Sharing: what layers hold in common. It is applied before encoding: encoded rows are stored for fewer layers.

Attention reads a shared row in every layer that uses it, so sharing takes from what is stored, not from what is read.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.traits.trait import Trait

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Sharing(Trait):
    """Each layer stores its own rows: the null sharing, and what others override.

    Token counts are arrays, of one kv head in one layer.
    """

    linear = True  # bytes are proportional to tokens
    aligned = False  # layers share a row token by token, so all must keep the same tokens

    def segments(self, geo: Geometry, kind: LayerKind, tokens: Ints) -> list[tuple[int, Ints]]:
        """(copies, tokens): each layer reads every segment; over the kind's layers it is stored `copies` times."""
        return [(kind.layers, tokens)]

    def holders(self, kind: LayerKind) -> int:
        """Layers of a kind that have slots of their own, and what a retention or a selection holds beside them."""
        return kind.layers

    def layer_bytes(self, geo: Geometry, kind: LayerKind, tokens: Ints) -> Ints:
        """Metadata that every layer stores and reads for itself, bytes of one kv head."""
        return np.zeros_like(tokens)

    def unprojected_layers(self, geo: Geometry) -> int:
        """Layers that compute no keys and values, because they read another layer's."""
        return 0
