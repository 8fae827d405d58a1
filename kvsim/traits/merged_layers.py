"""Pairs of layers that store one row for both: MiniCache."""

from dataclasses import dataclass

import numpy as np

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.kernels import elementwise
from kvsim.cost.op import Op
from kvsim.traits.sharing import Ints, Sharing
from kvsim.traits.trait import Decode, End


@dataclass(frozen=True)
class MergedPairs(Sharing):
    """Neighbouring layers from `first` x depth on share a direction; each keeps its magnitudes, and unlike tokens.

    Attributes:
        first: share of the layers, from the first on, that store their own rows.
        retained: share of tokens whose directions differ too much, which both layers store.
        restores: each step writes full rows before attention reads them (released code).
    """

    first: float = 0.5
    retained: float = 0.05
    restores: bool = False
    linear = False
    aligned = True

    def label(self, geo: Geometry, layer: int) -> bool:
        """Whether a layer is one of a pair."""
        return self._paired(geo, layer)

    def _paired(self, geo: Geometry, layer: int) -> bool:
        begin = int(self.first * geo.model.layers)
        return begin <= layer < begin + (geo.model.layers - begin) // 2 * 2

    def segments(self, geo: Geometry, kind: LayerKind, tokens: Ints) -> list[tuple[int, Ints]]:
        """Merged rows once a pair, retained ones in both layers."""
        if not self._paired(geo, kind.index[0]):
            return [(kind.layers, tokens)]
        retained = self._retained(tokens)
        return [(self._pairs(geo, kind), tokens - retained), (kind.layers, retained)]

    def _pairs(self, geo: Geometry, kind: LayerKind) -> int:
        """Pairs whose first layer is of a kind."""
        return sum((layer - int(self.first * geo.model.layers)) % 2 == 0 for layer in kind.index)

    def _retained(self, tokens: Ints) -> Ints:
        found: Ints = np.ceil(tokens * self.retained).astype(np.int64)
        return found

    def layer_bytes(self, geo: Geometry, kind: LayerKind, tokens: Ints) -> Ints:
        """Two 16-bit magnitudes (of key and value) a merged token; a 32-bit position a retained one."""
        if not self._paired(geo, kind.index[0]):
            return np.zeros_like(tokens)
        retained = self._retained(tokens)
        return 4 * (tokens - retained) + 4 * retained

    def end_ops(self, geo: Geometry, kind: LayerKind, end: End) -> list[Op]:
        """Norms, angle and interpolation: both layers' rows read, one written."""
        if not self._paired(geo, kind.index[0]):
            return []
        width = sum(kind.heads) * (geo.key_dim + geo.value_dim)
        moved, work = end.prompt * (3.0 * 2 * width), end.prompt * (8.0 * width)
        return [elementwise("merge_directions", moved, 3, self._pairs(geo, kind), work)]

    def decode_ops(self, geo: Geometry, kind: LayerKind, sums: Decode) -> list[Op]:
        """Magnitudes scale scores and probabilities inside the kernel; the new token's rows are merged."""
        if not self._paired(geo, kind.index[0]):
            return []
        width = geo.key_dim + geo.value_dim
        ops = [elementwise("merge_token", sums.sequences * (sum(kind.heads) * 6.0 * width), 1, self._pairs(geo, kind))]
        if self.restores:
            ops.append(elementwise("restore_rows", sums.kv_bytes + sums.tokens * (2.0 * width), 4, kind.layers))
        return ops
