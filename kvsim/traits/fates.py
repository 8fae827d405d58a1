"""Fates: what becomes of tokens that are not kept: dropped, merged into kept ones, folded into a state.

`more_tokens` of a head stand for all that is gone; costs fall at the prompt's end and at each step that drops a token.
"""

from dataclasses import dataclass

import numpy as np

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.kernels import elementwise, weights_read
from kvsim.cost.op import Op
from kvsim.traits.trait import Decode, End, Trait


@dataclass(frozen=True)
class Fate(Trait):
    """Dropped: the null fate, and what others override."""

    more_tokens = 0  # of a head that has dropped any

    def slot_bytes(self, geo: Geometry) -> int:
        """Metadata of one kept token and kv head."""
        return 0


DROPPED = Fate()


@dataclass(frozen=True)
class MergeNearest(Fate):
    """Each dropped token is averaged into the kept key that is most similar (D2O, EMS, ZeroMerge).

    Attributes:
        at_decode: tokens dropped while decoding are merged too.
        share: of dropped tokens that are similar enough to be merged.
        weight_bytes: of a count or weight a slot.
    """

    at_decode: bool = True
    share: float = 1.0
    weight_bytes: int = 0

    def slot_bytes(self, geo: Geometry) -> int:
        """A weight a slot."""
        return self.weight_bytes

    def end_ops(self, geo: Geometry, kind: LayerKind, end: End) -> list[Op]:
        """Similarities of dropped x kept keys, their maximum, and a scatter of the merged rows."""
        heads = sum(kind.heads)
        gone = np.maximum(end.prompt * heads - end.kept, 0)  # head-tokens
        flops = gone * (end.kept / heads) * (2.0 * geo.key_dim)
        read = (gone + end.kept) * (2.0 * geo.key_dim) + gone * 8.0
        rows = (
            gone * self.share * (6.0 * (geo.key_dim + geo.value_dim))
        )  # read, added to a row that is read and written
        count = end.due(kind)
        return [
            Op("merge_similarity", "gemm", "gpu", {"bf16": flops}, read, 2, count),
            elementwise("merge_rows", rows, launches=2, count=count),
        ]

    def decode_ops(self, geo: Geometry, kind: LayerKind, sums: Decode) -> list[Op]:
        """One dropped key a head against all kept ones; its row is added to the nearest."""
        if not self.at_decode:
            return []
        keys = sums.kept * (2.0 * geo.key_dim) + sums.sequences * (
            sum(kind.heads) * self.share * 6.0 * (geo.key_dim + geo.value_dim)
        )
        return [elementwise("merge_token", keys, 3, kind.layers, sums.kept * (1.0 * geo.key_dim))]


@dataclass(frozen=True)
class MergeNeighbours(Fate):
    """Runs of consecutive tokens with similar keys become one weighted row (KVMerger): linear in the prompt."""

    def end_ops(self, geo: Geometry, kind: LayerKind, end: End) -> list[Op]:
        """Similarity of neighbours, kernel weights around each run's pivot, weighted sums of keys and values."""
        width = sum(kind.heads) * (geo.key_dim + geo.value_dim)
        count = end.due(kind)
        return [
            elementwise("neighbour_similarity", end.kv_bytes, 2, count, end.prompt * (1.0 * width)),
            elementwise("merge_runs", end.kv_bytes + end.kept_bytes, 2, count, end.prompt * (1.0 * width)),
        ]


@dataclass(frozen=True)
class Compensation(Fate):
    """RazorAttention: all dropped tokens of a head become one, the mean of their keys and values with their count."""

    more_tokens = 1

    def end_ops(self, geo: Geometry, kind: LayerKind, end: End) -> list[Op]:
        """Dropped rows are read once."""
        return [elementwise("compensation_mean", end.kv_bytes - end.kept_bytes, 1, end.due(kind))]

    def decode_ops(self, geo: Geometry, kind: LayerKind, sums: Decode) -> list[Op]:
        """The token that leaves a window enters the mean: two rows read, one written, a head and sequence."""
        rows = sums.sequences * (sum(kind.heads) * 6.0 * (geo.key_dim + geo.value_dim))
        return [elementwise("compensation_update", rows, 1, kind.layers)]


@dataclass(frozen=True)
class LinearState(Fate):
    """LESS: dropped tokens are folded into a linear-attention state of rank x value_dim a head, through small MLPs.

    Attributes:
        rank: rows of the state; hidden: width of the MLPs of queries and keys; bytes_each: of an element of the state.
    """

    rank: int = 8
    hidden: int = 512
    bytes_each: int = 4

    def static_bytes(self, geo: Geometry) -> int:
        """MLPs of queries and of keys, for each head, 16 bits."""
        one = geo.key_dim * self.hidden + self.hidden * self.rank
        return 2 * geo.model.layers * (geo.query_heads + geo.kv_heads) * one

    def sequence_bytes(self, geo: Geometry) -> int:
        """State [rank, value_dim] and normalizer [rank] of each kv head."""
        return geo.model.layers * geo.kv_heads * self.rank * (geo.value_dim + 1) * self.bytes_each

    def decode_ops(self, geo: Geometry, kind: LayerKind, sums: Decode) -> list[Op]:
        """MLPs of the query and of the dropped key, the state read, merged by its normalizer, updated and written."""
        one = geo.key_dim * self.hidden + self.hidden * self.rank
        heads = geo.query_heads + geo.kv_heads
        state = geo.kv_heads * self.rank * (geo.value_dim + 1)
        flops = sums.sequences * (2.0 * (heads * one + heads * self.rank * geo.value_dim))
        moved = sums.sequences * (2.0 * state * self.bytes_each)
        return [
            weights_read("fold_weights", 2.0 * heads * one, kind.layers),
            Op("fold_state", "gemm", "gpu", {"bf16": flops}, moved, 5, kind.layers),
        ]
