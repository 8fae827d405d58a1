"""Scorers: what it costs to say which tokens matter, in work at prefill and decode and in metadata a slot.

Ideal kernels fuse scores into passes over the keys (`kernels_ref/scorers.py` has those of SnapKV, H2O and TOVA);
released codes often write score matrices out instead, which `written` says.
"""

from dataclasses import dataclass

import numpy as np

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.kernels import elementwise, gemm
from kvsim.cost.op import Op
from kvsim.traits.trait import Chunk, Decode, End, Trait


@dataclass(frozen=True)
class Scorer(Trait):
    """Positions alone decide: the null scorer, and what others override."""

    slot_bytes = 0  # metadata of one kept token and kv head
    by_head = False  # heads of a layer choose apart


POSITIONS = Scorer()


@dataclass(frozen=True)
class WindowVotes(Scorer):
    """SnapKV: the last `window` queries of the prompt vote, votes are pooled over `pool` neighbours.

    Attributes:
        passes: times that the votes are read and written beside softmax, pooling and their sum.
        shared_layers: layers that reuse one layer's choice, which then costs a part.
    """

    window: int
    pool: int = 5
    passes: int = 3
    shared_layers: int = 1
    by_head = True

    def end_ops(self, geo: Geometry, kind: LayerKind, end: End) -> list[Op]:
        """Window queries against all keys, softmax and pooling over their scores, top-k."""
        window = np.minimum(self.window, end.prompt)
        rows, keys = window * geo.queries_per_kv_head, end.prompt * geo.kv_heads
        count = end.due(kind) / self.shared_layers
        moved = 4.0 * geo.query_heads * window * end.prompt * self.passes
        return [
            gemm("window_scores", rows, keys, geo.key_dim, count=count),
            elementwise("window_votes", moved, launches=5, count=count),
        ]


@dataclass(frozen=True)
class AccumulatedScores(Scorer):
    """H2O: sums of attention over all queries so far; one fp32 a slot. With decay (A2SF) sums are scaled first.

    Attributes:
        written: the score matrix leaves the attention kernel, and is read thrice.
        at_decode: sums go on with each step.
    """

    written: bool = False
    at_decode: bool = True
    slot_bytes = 4
    by_head = True

    def chunk_ops(self, geo: Geometry, kind: LayerKind, chunk: Chunk) -> list[Op]:
        """Column sums of the softmax: a second pass of scores (fused), or the score matrix written and read thrice."""
        if self.written:
            moved = chunk.pairs * geo.query_heads * 4.0 * 4
            return [elementwise("score_matrix", moved, launches=4, count=kind.layers)]
        flops = chunk.pairs * (2 * geo.key_dim * geo.query_heads)
        sums = chunk.new * 8.0 * geo.kv_heads
        return [Op("score_sums", "attention_prefill", "gpu", {"bf16": flops}, sums, 1, kind.layers)]

    def decode_ops(self, geo: Geometry, kind: LayerKind, sums: Decode) -> list[Op]:
        """Scores leave the attention kernel and are added to the sums; the smallest slot is found."""
        if not self.at_decode:
            return []
        scores = sums.tokens * (2.0 * geo.queries_per_kv_head + 2 * self.slot_bytes)
        return [elementwise("score_update", scores, launches=2, count=kind.layers)]


@dataclass(frozen=True)
class LastQuery(Scorer):
    """TOVA: the newest query's attention, mean over heads: one choice a layer, nothing kept between steps."""

    by_head = False

    def end_ops(self, geo: Geometry, kind: LayerKind, end: End) -> list[Op]:
        """One query against all keys, mean over heads, top-k."""
        moved = 2.0 * end.prompt * (geo.kv_heads * geo.key_dim + 2 * geo.query_heads)
        return [elementwise("last_query_scores", moved, launches=3, count=end.due(kind))]

    def decode_ops(self, geo: Geometry, kind: LayerKind, sums: Decode) -> list[Op]:
        """Scores leave the attention kernel; their mean and its smallest entry are found."""
        return [elementwise("last_query_scores", sums.tokens * 4.0 * geo.queries_per_kv_head, 2, kind.layers)]


@dataclass(frozen=True)
class KeyScores(Scorer):
    """One pass over the cached keys when the prompt is complete: norms, or products with a fixed vector.

    Attributes:
        at_append: a new key is scored as it is written, and its fp32 score kept.
        filters: a vector a layer and kv head comes with the model (Q-Filters).
        values: values are read as well (LagKV).
    """

    at_append: bool = False
    filters: bool = False
    values: bool = False
    by_head = True

    @property
    def slot_bytes(self) -> int:  # type: ignore[override]
        """One fp32 score, if it is kept."""
        return 4 if self.at_append else 0

    def static_bytes(self, geo: Geometry) -> int:
        """The filters, 16 bits."""
        return 2 * geo.model.layers * geo.kv_heads * geo.key_dim if self.filters else 0

    def end_ops(self, geo: Geometry, kind: LayerKind, end: End) -> list[Op]:
        """Keys read once, scores written, sorted."""
        share = 1.0 if self.values else geo.key_dim / (geo.key_dim + geo.value_dim)
        moved = end.kv_bytes * share + end.prompt * 8.0 * geo.kv_heads
        instructions = end.prompt * (2.0 * geo.kv_heads * geo.key_dim * (2 if self.values else 1))
        return [elementwise("key_scores", moved, 2, end.due(kind), instructions)]

    def decode_ops(self, geo: Geometry, kind: LayerKind, sums: Decode) -> list[Op]:
        """Kept scores are searched for the smallest."""
        if not self.at_append:
            return []
        return [elementwise("least_score", sums.tokens * float(self.slot_bytes), 1, kind.layers)]


@dataclass(frozen=True)
class TrainedHeads(Scorer):
    """Locret: a small MLP a layer scores each new token from its query, key and value; one fp16 score a slot.

    Attributes:
        hidden: width of the MLP.
    """

    hidden: int = 1024
    slot_bytes = 2
    by_head = True

    def _width(self, geo: Geometry) -> int:
        return geo.query_heads * geo.key_dim + geo.kv_heads * (geo.key_dim + geo.value_dim)

    def static_bytes(self, geo: Geometry) -> int:
        """Both matrices of each layer, 16 bits."""
        return 2 * geo.model.layers * self.hidden * (self._width(geo) + geo.kv_heads)

    def chunk_ops(self, geo: Geometry, kind: LayerKind, chunk: Chunk) -> list[Op]:
        """Two GEMMs for every new token, and top-k over what is cached."""
        width, heads = self._width(geo), geo.kv_heads
        flops = chunk.new * (2.0 * self.hidden * (width + heads))
        moved = chunk.new * (2.0 * (width + 2 * self.hidden + heads)) + (chunk.past + chunk.new) * (4.0 * heads)
        return [Op("retaining_heads", "gemm", "gpu", {"bf16": flops}, moved, 3, kind.layers)]
