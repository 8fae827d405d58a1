"""Scorers: what it costs to say which tokens matter, in work at prefill and decode and in metadata a slot.

Ideal kernels fuse scores into passes over the keys (`kernels_ref/scorers.py` has those of SnapKV, H2O and TOVA);
released codes often write score matrices out instead, which `written` says.
"""

from dataclasses import dataclass

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.kernels import elementwise, host_sync
from kvsim.cost.op import Op
from kvsim.traits.trait import Chunk, Decode, End, Trait


@dataclass(frozen=True)
class Scorer(Trait):
    """Positions alone decide: the null scorer, and what others override."""

    by_head = False  # heads of a layer choose apart

    def slot_bytes(self, geo: Geometry) -> int:
        """Metadata of one kept token and kv head."""
        return 0


POSITIONS = Scorer()


@dataclass(frozen=True)
class AccumulatedScores(Scorer):
    """H2O: sums of attention over all queries so far; one fp32 a slot.

    Attributes:
        decay: older sums are scaled by it at each query (A2SF's forgetting factor); 1 for H2O.
        written: the score matrix leaves the attention kernel, and is read thrice.
        at_decode: sums go on with each step.
    """

    written: bool = False
    at_decode: bool = True
    decay: float = 1.0
    by_head = True

    def slot_bytes(self, geo: Geometry) -> int:
        """An fp32 sum."""
        return 4

    def chunk_ops(self, geo: Geometry, kind: LayerKind, chunk: Chunk) -> list[Op]:
        """Column sums of the softmax: a second pass of scores (fused), or the score matrix written and read thrice."""
        if self.written:
            moved = chunk.pairs * geo.query_heads * 4.0 * 4
            return [elementwise("score_matrix", moved, launches=4, count=kind.layers)]
        flops = chunk.pairs * (2 * geo.key_dim * geo.query_heads)
        sums = chunk.new * 8.0 * geo.kv_heads
        return [Op("score_sums", "column_sums", "gpu", {"bf16": flops}, sums, 1, kind.layers)]

    def decode_ops(self, geo: Geometry, kind: LayerKind, sums: Decode) -> list[Op]:
        """Scores leave the attention kernel and are added to the sums; the smallest slot is found."""
        if not self.at_decode:
            return []
        scores = sums.tokens * (2.0 * geo.queries_per_kv_head + 8.0)
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

    def slot_bytes(self, geo: Geometry) -> int:
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
        return [elementwise("least_score", sums.tokens * 4.0, 1, kind.layers)]


@dataclass(frozen=True)
class TrainedHeads(Scorer):
    """Locret: a small MLP a layer scores each new token from its query, key and value; one fp16 score a slot.

    Attributes:
        hidden: width of the MLP.
    """

    hidden: int = 1024
    by_head = True

    def slot_bytes(self, geo: Geometry) -> int:
        """An fp16 score."""
        return 2

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


@dataclass(frozen=True)
class LayerCosine(Scorer):
    """SqueezeAttention: how much a layer's attention turns the hidden state, and k-means of the layers on the host."""

    def chunk_ops(self, geo: Geometry, kind: LayerKind, chunk: Chunk) -> list[Op]:
        """The hidden state before and after attention is read once more."""
        return [elementwise("layer_cosine", chunk.new * (4.0 * geo.model.hidden), 2, kind.layers)]

    def end_ops(self, geo: Geometry, kind: LayerKind, end: End) -> list[Op]:
        """The host waits for all layers' figures, and the GPU for their clusters."""
        return [host_sync("cluster_layers", 2)] if kind.index[0] == 0 else []
