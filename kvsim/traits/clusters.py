"""Selections that read tokens by what stands for many of them: clusters, sentences, frames, codes, chosen positions."""

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.kernels import elementwise
from kvsim.cost.op import Op
from kvsim.traits.selection import Ints, Selection
from kvsim.traits.trait import Decode, End


@dataclass(frozen=True)
class Represented(Selection):
    """Tokens in sets of `size` with one vector each; a step compares those, and reads the best sets up to `budget`.

    Attributes:
        budget: tokens read by choice. always: tokens read besides (sinks, the newest).
        token_bytes: of the index for each token (the set that it is in).
        iterations: passes of k-means over the keys; 1 for a mean.
        dense_layers: first layers that read everything and have no index.
        missed: of the bytes read, the share that must be fetched anew when the cache rests elsewhere.
    """

    size: int
    budget: int
    always: int = 0
    token_bytes: int = 0
    iterations: int = 1
    dense_layers: int = 0
    missed: float = 1.0
    selects = True

    @property
    def misses(self) -> float:  # type: ignore[override]
        """`missed`."""
        return self.missed

    def label(self, geo: Geometry, layer: int) -> Hashable:
        """Whether a layer is dense."""
        return layer < self.dense_layers

    def _dense(self, kind: LayerKind) -> bool:
        return kind.index[0] < self.dense_layers

    def read(self, kind: LayerKind, kept: Ints) -> Ints:
        """min(kept, budget + always)."""
        return kept if self._dense(kind) else np.minimum(kept, self.budget + self.always)

    def scanned(self, kind: LayerKind, kept: Ints) -> Ints:
        """Sets."""
        return np.zeros_like(kept) if self._dense(kind) else -(-kept // self.size)

    def index_bytes(self, geo: Geometry, kind: LayerKind, kept: Ints) -> Ints:
        """A 16-bit key a set, and what each token takes."""
        tokens = np.zeros_like(kept) if self._dense(kind) else kept
        return self.scanned(kind, kept) * (2 * geo.key_dim) + tokens * self.token_bytes

    def end_ops(self, geo: Geometry, kind: LayerKind, end: End) -> list[Op]:
        """Means: keys read once. Clusters: in each iteration every key meets every centroid."""
        if self._dense(kind):
            return []
        heads = sum(kind.heads)
        keys = end.prompt * (2.0 * heads * geo.key_dim)
        if self.iterations == 1:
            return [elementwise("mean_keys", keys, 1, kind.layers)]
        flops = end.prompt * (end.prompt / self.size) * (2.0 * heads * geo.key_dim * self.iterations)
        moved = 2 * keys * self.iterations
        return [Op("k_means", "gemm", "gpu", {"bf16": flops}, moved, 3.0 * self.iterations, kind.layers)]

    def decode_ops(self, geo: Geometry, kind: LayerKind, sums: Decode) -> list[Op]:
        """Queries against the sets' keys, a sort, and the indices of the chosen tokens."""
        if self._dense(kind):
            return []
        vectors = sums.scanned * (2.0 * geo.key_dim + 4.0 * geo.queries_per_kv_head)
        work = sums.scanned * (1.0 * geo.queries_per_kv_head * geo.key_dim)
        indices = sums.scanned * 8.0 + sums.tokens * 4.0
        return [
            elementwise("score_sets", vectors, 1, kind.layers, work),
            elementwise("choose_sets", indices, 3, kind.layers),
        ]


@dataclass(frozen=True)
class Coded(Selection):
    """A2ATS: codes of all keys are scored by a table of query products; a step reads the best share of tokens.

    Attributes:
        share: of the tokens that is read. code_bytes: of one key and kv head. entries: of a table for each byte.
    """

    share: float
    code_bytes: int
    entries: int = 256
    missed: float = 1.0
    selects = True

    @property
    def misses(self) -> float:  # type: ignore[override]
        """`missed`."""
        return self.missed

    def read(self, kind: LayerKind, kept: Ints) -> Ints:
        """ceil(share x kept)."""
        found: Ints = np.ceil(kept * self.share).astype(np.int64)
        return found

    def scanned(self, kind: LayerKind, kept: Ints) -> Ints:
        """Every token's code."""
        return kept

    def index_bytes(self, geo: Geometry, kind: LayerKind, kept: Ints) -> Ints:
        """The codes."""
        return kept * self.code_bytes

    def static_bytes(self, geo: Geometry) -> int:
        """Codebooks of each layer and kv head, 16 bits."""
        return 2 * geo.model.layers * geo.kv_heads * self.entries * geo.key_dim

    def end_ops(self, geo: Geometry, kind: LayerKind, end: End) -> list[Op]:
        """Every key meets every codeword."""
        keys = end.prompt * (1.0 * sum(kind.heads) * geo.key_dim)
        return [elementwise("nearest_codeword", 2 * keys, 1, kind.layers, keys * self.entries)]

    def decode_ops(self, geo: Geometry, kind: LayerKind, sums: Decode) -> list[Op]:
        """Tables of query products, a look-up for each byte of a code and query head, top-k."""
        group = geo.queries_per_kv_head
        tables = sums.sequences * (1.0 * geo.query_heads * geo.key_dim * self.entries)
        scores = sums.scanned * (self.code_bytes + 4.0 * group)
        return [
            elementwise("query_tables", sums.sequences * (4.0 * geo.query_heads), 1, kind.layers, tables),
            elementwise("score_codes", scores, 1, kind.layers, sums.scanned * (2.0 * self.code_bytes * group)),
            elementwise("choose_tokens", sums.scanned * (4.0 * group), 3, kind.layers),
        ]


@dataclass(frozen=True)
class Persistent(Selection):
    """TidalDecode: a few layers read everything and choose positions, the others read those.

    Attributes:
        dense_layers: first layers that read everything, without choosing. chooses: layers that choose.
    """

    budget: int
    dense_layers: int = 2
    chooses: tuple[int, ...] = (2, 12)
    selects = True

    def label(self, geo: Geometry, layer: int) -> Hashable:
        """Dense, choosing or sparse."""
        return "dense" if layer < self.dense_layers else "chooses" if layer in self.chooses else "sparse"

    def read(self, kind: LayerKind, kept: Ints) -> Ints:
        """All, or the budget."""
        whole = kind.index[0] < self.dense_layers or kind.index[0] in self.chooses
        return kept if whole else np.minimum(kept, self.budget)

    def decode_ops(self, geo: Geometry, kind: LayerKind, sums: Decode) -> list[Op]:
        """Choosing layers write their scores out, and take the largest for each head."""
        if kind.index[0] not in self.chooses:
            return []
        scores = sums.kept * (4.0 * geo.queries_per_kv_head)
        return [
            elementwise("write_scores", scores, 1, kind.layers),
            elementwise("choose_positions", 2 * scores, 3, kind.layers),
        ]


@dataclass(frozen=True)
class LocalSums(Selection):
    """ALISA: a step reads a share of the tokens, half of them the newest, half those with the largest recent attention.

    Attributes:
        share: of the tokens. window: steps over which attention is added up.
    """

    share: float
    window: int
    missed: float = 1.0
    selects = True

    @property
    def misses(self) -> float:  # type: ignore[override]
        """`missed`."""
        return self.missed

    def read(self, kind: LayerKind, kept: Ints) -> Ints:
        """ceil(share x kept)."""
        found: Ints = np.ceil(kept * self.share).astype(np.int64)
        return found

    def scanned(self, kind: LayerKind, kept: Ints) -> Ints:
        """A sum a token."""
        return kept

    def index_bytes(self, geo: Geometry, kind: LayerKind, kept: Ints) -> Ints:
        """fp32 sums."""
        return 4 * kept

    def decode_ops(self, geo: Geometry, kind: LayerKind, sums: Decode) -> list[Op]:
        """Scores of what was read enter the sums; top-k; a gather of rows that do not lie together."""
        scores = sums.tokens * (2.0 * geo.queries_per_kv_head) + sums.scanned * 12.0
        return [elementwise("local_sums", scores, 4, kind.layers)]
