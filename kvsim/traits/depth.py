"""Tokens that thin out with depth, while a prompt is read and after."""

from dataclasses import dataclass
from functools import cache
from math import cos, pi

import numpy as np

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.kernels import elementwise
from kvsim.cost.op import Op
from kvsim.traits.prefill import Prefill
from kvsim.traits.retention import Ints, Retention
from kvsim.traits.trait import Chunk, Decode


@cache
def depth_shares(layers: int, recent: float, last: float, stride: int) -> tuple[float, ...]:
    """PyramidInfer: shares of the tokens by layer. Every `stride` layers the older ones are thinned by a ratio that
    falls from 1 to `last` along a cosine; a share `recent` of the tokens is never thinned.
    """
    older, found = 1.0, []
    for layer in range(layers):
        if layer and layer % stride == 0:
            older *= last + (1 - last) * (1 + cos(pi * layer / layers)) / 2
        found.append(recent + (1 - recent) * older)
    return tuple(found)


@dataclass(frozen=True)
class DepthThinned(Retention):
    """Each layer keeps its share of all tokens, at least `least`; generated ones are thinned `every` at a time."""

    recent: float
    last: float
    stride: int
    least: int
    every: int
    aligned = False

    def share(self, geo_layers: int, layer: int) -> float:
        """Of a layer."""
        return depth_shares(geo_layers, self.recent, self.last, self.stride)[layer]

    def label(self, geo: Geometry, layer: int) -> int:
        """Layers between two thinnings are alike."""
        return layer // self.stride

    def kept(self, prompt: int | Ints, context: Ints, kinds: tuple[LayerKind, ...]) -> Ints:
        """ceil(share x context), at least as many as `least` or the context has."""
        many = sum(kind.layers for kind in kinds)
        mine = np.array([self.share(many, kind.index[0]) for kind in kinds for _ in kind.heads])
        thinned = np.ceil(mine[:, None] * context).astype(np.int64)
        found: Ints = np.maximum(thinned, np.minimum(context, self.least))[:, None]
        return found

    def decode_ops(self, geo: Geometry, kind: LayerKind, sums: Decode) -> list[Op]:
        """Recent queries' attention chooses among new tokens, and rows move, every so many steps."""
        scores = sums.kept * (2.0 * geo.queries_per_kv_head)
        moved = (scores + 2 * sums.kv_bytes) / self.every
        return [elementwise("thin_out", moved, 6 / self.every, kind.layers)]


@dataclass(frozen=True)
class DepthPrefill(Prefill):
    """A prompt's tokens that a layer drops are computed in no later layer."""

    recent: float
    last: float
    stride: int

    def label(self, geo: Geometry, layer: int) -> int:
        """As the retention's."""
        return layer // self.stride

    def passes(self, geo: Geometry, layer: int) -> float:
        """The layer's share."""
        return depth_shares(geo.model.layers, self.recent, self.last, self.stride)[layer]

    def chunk_ops(self, geo: Geometry, kind: LayerKind, chunk: Chunk) -> list[Op]:
        """Attention of the recent rows, written and sorted where a layer thins."""
        rows = chunk.pairs * (4.0 * geo.query_heads * self.recent / self.stride)
        return [elementwise("recent_scores", rows, 3 / self.stride, kind.layers)]
