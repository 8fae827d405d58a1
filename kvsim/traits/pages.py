"""Pages: a cache that is read by page, those whose key bounds promise most for the query (Quest)."""

from dataclasses import dataclass

import numpy as np

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.kernels import elementwise
from kvsim.cost.op import Op
from kvsim.traits.selection import Ints, Selection
from kvsim.traits.trait import Decode


@dataclass(frozen=True)
class Pages(Selection):
    """Each page of `page` tokens has its keys' minimum and maximum by channel; a step reads the best `budget` tokens.

    Heads that share a kv head choose together. The first `dense_layers` layers read everything and have no index.
    """

    page: int
    budget: int
    dense_layers: int = 0
    selects = True

    def label(self, geo: Geometry, layer: int) -> bool:
        """Whether a layer is dense."""
        return layer < self.dense_layers

    def _dense(self, kind: LayerKind) -> bool:
        return kind.index[0] < self.dense_layers

    def read(self, kind: LayerKind, kept: Ints) -> Ints:
        """min(kept, budget) tokens."""
        return kept if self._dense(kind) else np.minimum(kept, self.budget)

    def scanned(self, kind: LayerKind, kept: Ints) -> Ints:
        """Pages."""
        return np.zeros_like(kept) if self._dense(kind) else -(-kept // self.page)

    def index_bytes(self, geo: Geometry, kind: LayerKind, kept: Ints) -> Ints:
        """Two 16-bit keys a page."""
        return self.scanned(kind, kept) * (4 * geo.key_dim)

    def decode_ops(self, geo: Geometry, kind: LayerKind, sums: Decode) -> list[Op]:
        """The newest page's bounds, an upper bound of each page's scores, top-k over pages."""
        if self._dense(kind):
            return []
        heads, group = sum(kind.heads), geo.queries_per_kv_head
        bounds = sums.scanned * (4.0 * geo.key_dim)
        scores = sums.scanned * (4.0 * group)
        work = sums.scanned * (3.0 * group * geo.key_dim)  # the larger of two products for each channel, added up
        return [
            elementwise("update_bounds", sums.sequences * (heads * 8.0 * geo.key_dim), 1, kind.layers),
            elementwise("estimate_pages", bounds + scores, 1, kind.layers, work),
            elementwise("choose_pages", 2 * scores, 1, kind.layers),
        ]
