"""Watchers: scorers that follow the attention of each decode step, and what they keep for every slot."""

from dataclasses import dataclass

import numpy as np

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.kernels import elementwise, gemm
from kvsim.cost.op import Op
from kvsim.traits.scorers import Scorer
from kvsim.traits.trait import Decode, End


def window_scores(geo: Geometry, kind: LayerKind, end: End, window: int) -> list[Op]:
    """Scores of the prompt's last `window` queries, and one pass over them."""
    queries = np.minimum(window, end.prompt)
    rows, keys = queries * geo.queries_per_kv_head, end.prompt * geo.kv_heads
    moved = 4.0 * geo.query_heads * queries * end.prompt * 2
    return [
        gemm("window_scores", rows, keys, geo.key_dim, count=kind.layers),
        elementwise("watch_window", moved, 3, kind.layers),
    ]


def exported_scores(geo: Geometry, kind: LayerKind, sums: Decode, state_bytes: float, launches: int = 2) -> Op:
    """A step's probabilities leave the attention kernel and update `state_bytes` a slot, read and written."""
    moved = sums.kept * (2.0 * geo.queries_per_kv_head + state_bytes)
    return elementwise("watch_scores", moved, launches, kind.layers)


@dataclass(frozen=True)
class History(Scorer):
    """Scissorhands: whether a token drew more than 1 / tokens of attention in each of the last `window` steps.

    Attributes:
        bits: of one entry (1 packed; a released reimplementation keeps bytes: 8).
    """

    window: int
    bits: int = 1
    by_head = True

    def slot_bytes(self, geo: Geometry) -> int:
        """The history of one slot."""
        return -(-self.window * self.bits // 8)

    def end_ops(self, geo: Geometry, kind: LayerKind, end: End) -> list[Op]:
        """The prompt's last `window` queries make the first history."""
        return window_scores(geo, kind, end, self.window)

    def decode_ops(self, geo: Geometry, kind: LayerKind, sums: Decode) -> list[Op]:
        """One entry is written, and its count in the window kept up."""
        return [exported_scores(geo, kind, sums, 2 * max(1, self.bits // 8))]


@dataclass(frozen=True)
class Recurrence(Scorer):
    """LazyEviction: when a token mattered last, and the longest gap after which it mattered again.

    Attributes:
        threshold: of attention above which a token matters.
    """

    threshold: float
    by_head = True

    def slot_bytes(self, geo: Geometry) -> int:
        """Two int32."""
        return 8

    def end_ops(self, geo: Geometry, kind: LayerKind, end: End) -> list[Op]:
        """The prompt's tokens begin with the last query's scores."""
        return window_scores(geo, kind, end, 1)

    def decode_ops(self, geo: Geometry, kind: LayerKind, sums: Decode) -> list[Op]:
        """Both numbers are read, and written where a token matters."""
        return [exported_scores(geo, kind, sums, 16)]


@dataclass(frozen=True)
class RecentProbabilities(Scorer):
    """MorphKV: the attention of the last `window` queries to every slot is kept, and fused by `fusion` to rank it."""

    window: int
    fusion: str = "sum"
    by_head = True

    def slot_bytes(self, geo: Geometry) -> int:
        """fp16 rows of every query head that shares the kv head."""
        return int(2 * self.window * geo.queries_per_kv_head)

    def end_ops(self, geo: Geometry, kind: LayerKind, end: End) -> list[Op]:
        """The prompt's last rows fill the buffer."""
        return window_scores(geo, kind, end, self.window)

    def decode_ops(self, geo: Geometry, kind: LayerKind, sums: Decode) -> list[Op]:
        """All rows are fused, one of them newly written."""
        return [exported_scores(geo, kind, sums, self.slot_bytes(geo), 3)]


@dataclass(frozen=True)
class HashCodes(Scorer):
    """HashEvict: signs of random projections of each key; the slot farthest from the query's code gives way.

    Attributes:
        bits: of a code.
    """

    bits: int
    by_head = True

    def slot_bytes(self, geo: Geometry) -> int:
        """One code."""
        return -(-self.bits // 8)

    def static_bytes(self, geo: Geometry) -> int:
        """The projection, 16 bits, one for all."""
        return 2 * geo.key_dim * self.bits

    def end_ops(self, geo: Geometry, kind: LayerKind, end: End) -> list[Op]:
        """Codes of the prompt's keys, and their distances to the last query's."""
        keys = end.prompt * (2.0 * geo.kv_heads * geo.key_dim)
        work = end.prompt * (1.0 * geo.kv_heads * geo.key_dim * self.bits)
        return [elementwise("hash_keys", keys, 2, kind.layers, work)]

    def decode_ops(self, geo: Geometry, kind: LayerKind, sums: Decode) -> list[Op]:
        """Query and new key are hashed, every code is compared, before attention."""
        heads = geo.query_heads + sum(kind.heads)
        work = sums.sequences * (1.0 * heads * geo.key_dim * self.bits) + sums.kept * 3.0
        return [elementwise("hash_distance", sums.kept * float(self.slot_bytes(geo)), 3, kind.layers, work)]
