"""Codewords: each key is named by the nearest of a codebook, and a step scores tokens by their names alone (A2ATS)."""

from dataclasses import dataclass

import numpy as np

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.kernels import elementwise, weights_read
from kvsim.cost.op import Op
from kvsim.traits.selection import Ints, Selection
from kvsim.traits.trait import Chunk, Decode


@dataclass(frozen=True)
class Codewords(Selection):
    """A codebook for each layer and kv head, made offline; keys lose their position within `window` (WRoPE).

    Queries are multiplied with all codewords, each token's score is looked up by its code, the best `share` are read.
    """

    codewords: int
    share: float
    window: int
    selects = True

    @property
    def code_bytes(self) -> int:
        """Of one token's code."""
        return 2 if self.codewords <= 1 << 16 else 4

    def read(self, kind: LayerKind, kept: Ints) -> Ints:
        """ceil(share x kept)."""
        found: Ints = np.ceil(kept * self.share).astype(np.int64)
        return found

    def scanned(self, kind: LayerKind, kept: Ints) -> Ints:
        """Every token's code."""
        return kept

    def static_bytes(self, geo: Geometry) -> int:
        """Codebooks, 16 bits."""
        return 2 * geo.model.layers * geo.kv_heads * self.codewords * geo.key_dim

    def index_bytes(self, geo: Geometry, kind: LayerKind, kept: Ints) -> Ints:
        """A code a token."""
        return kept * self.code_bytes

    def _books(self, geo: Geometry, kind: LayerKind) -> float:
        return 2.0 * sum(kind.heads) * self.codewords * geo.key_dim

    def chunk_ops(self, geo: Geometry, kind: LayerKind, chunk: Chunk) -> list[Op]:
        """New keys against all codewords; codes written."""
        heads = sum(kind.heads)
        flops = chunk.new * (2.0 * heads * self.codewords * geo.key_dim)
        moved = chunk.new * (heads * (2.0 * geo.key_dim + self.code_bytes))
        return [
            weights_read("codebooks", self._books(geo, kind), kind.layers),
            Op("nearest_codeword", "gemm", "gpu", {"bf16": flops}, moved, 2, kind.layers),
        ]

    def decode_ops(self, geo: Geometry, kind: LayerKind, sums: Decode) -> list[Op]:
        """Queries and the new key against all codewords, one score looked up for each token and query, top-k."""
        heads, group = sum(kind.heads), geo.queries_per_kv_head
        flops = sums.sequences * (2.0 * (geo.query_heads + heads) * self.codewords * geo.key_dim)
        table = sums.sequences * (2.0 * geo.query_heads * self.codewords)
        scores = sums.scanned * (2.0 * group)
        return [
            weights_read("codebooks", self._books(geo, kind), kind.layers),
            Op("score_codewords", "gemm", "gpu", {"bf16": flops}, table, 1, kind.layers),
            elementwise("look_up_scores", table + sums.scanned * float(self.code_bytes) + scores, 1, kind.layers,
                        sums.scanned * (4.0 * group)),
            elementwise("choose_tokens", 2 * scores + sums.tokens * 4.0, 1, kind.layers),
        ]  # fmt: skip
