"""Clusters: keys are grouped by direction, and a step reads the groups nearest to its query (ClusterKV)."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.kernels import elementwise
from kvsim.cost.op import Op
from kvsim.traits.selection import Ints, Selection
from kvsim.traits.trait import Decode, End


@dataclass(frozen=True)
class Clusters(Selection):
    """Cosine k-means over each kv head's keys, `window` tokens at a time: one centroid for `each` tokens.

    A step compares queries with centroids and reads the tokens of the best clusters until `budget` are found, beside
    `sinks` first tokens and those not yet clustered. Heads that share a kv head choose together. Windows are counted
    from the first token, so that what is clustered depends on the length alone.

    Attributes:
        iterations: of k-means. dense_layers: first layers that read everything and have no index.
        misses: share of the tokens of chosen clusters that were not chosen a step before.
    """

    budget: int
    sinks: int
    each: int
    window: int
    iterations: int = 20
    dense_layers: int = 0
    misses: float = 1.0
    selects = True

    def label(self, geo: Geometry, layer: int) -> bool:
        """Whether a layer is dense."""
        return layer < self.dense_layers

    def _dense(self, kind: LayerKind) -> bool:
        return kind.index[0] < self.dense_layers

    def read(self, kind: LayerKind, kept: Ints) -> Ints:
        """Sinks, the budget, and the newest tokens up to a whole window."""
        return kept if self._dense(kind) else np.minimum(kept, self.sinks + self.budget + kept % self.window)

    def recalled(self, kind: LayerKind, read: Ints) -> Ints:
        """A share of the budget; sinks and the newest tokens are on the chip, and so are dense layers."""
        if self._dense(kind):
            return np.zeros_like(read)
        chosen = np.minimum(np.maximum(read - self.sinks, 0), self.budget)
        missed: Ints = np.ceil(chosen * self.misses).astype(np.int64)
        return missed

    def scanned(self, kind: LayerKind, kept: Ints) -> Ints:
        """Centroids."""
        if self._dense(kind):
            return np.zeros_like(kept)
        return kept // self.window * (self.window // self.each)

    def index_bytes(self, geo: Geometry, kind: LayerKind, kept: Ints) -> Ints:
        """A 16-bit centroid a cluster, and an int32 for each token that is in one."""
        if self._dense(kind):
            return np.zeros_like(kept)
        return self.scanned(kind, kept) * (2 * geo.key_dim) + kept // self.window * (4 * self.window)

    def end_ops(self, geo: Geometry, kind: LayerKind, end: End) -> list[Op]:
        """K-means of the prompt: in each iteration keys against all centroids, then sums of keys by cluster."""
        if self._dense(kind):
            return []
        heads, keys = sum(kind.heads), end.prompt * (2.0 * geo.key_dim)
        blocks: Any = end.prompt // self.window
        flops = blocks * (self.window // self.each) * end.prompt * (2.0 * heads * geo.key_dim)
        count = kind.layers * self.iterations * (blocks > 0)
        return [
            Op("assign_keys", "gemm", "gpu", {"bf16": flops}, heads * (keys + end.prompt * 4.0), 1, count),
            elementwise("move_centroids", heads * keys, 2, count, end.prompt * (1.0 * heads * geo.key_dim)),
        ]

    def decode_ops(self, geo: Geometry, kind: LayerKind, sums: Decode) -> list[Op]:
        """Centroids' scores, sorted; the list of chosen tokens; k-means of a window, spread evenly over its steps."""
        if self._dense(kind):
            return []
        heads, group = sum(kind.heads), geo.queries_per_kv_head
        scores = sums.scanned * (4.0 * group)
        again = self.iterations / self.window  # iterations a step
        keys = sums.sequences * (heads * self.window * 4.0 * geo.key_dim * again)
        work = sums.sequences * (again * heads * self.window * geo.key_dim * (1.0 + self.window // self.each))
        return [
            elementwise("score_centroids", sums.scanned * (2.0 * geo.key_dim) + scores, 1, kind.layers,
                        sums.scanned * (group * geo.key_dim)),
            elementwise("sort_clusters", 2 * scores, 1, kind.layers),
            elementwise("list_tokens", sums.tokens * 8.0, 1, kind.layers),
            elementwise("cluster_window", keys, 3 * again, kind.layers, work),
        ]  # fmt: skip
