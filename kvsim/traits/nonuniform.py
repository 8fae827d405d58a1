"""Non-uniform codes with outliers kept apart: KVQuant."""

from dataclasses import dataclass
from math import ceil

import numpy as np

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.kernels import elementwise
from kvsim.cost.op import Op
from kvsim.traits.encoding import Ints, Parts, Quantizer
from kvsim.traits.quantizers import packed
from kvsim.traits.trait import Chunk, Decode


@dataclass(frozen=True)
class NonUniform(Quantizer):
    """KVQuant: keys per channel before RoPE, values per token, each code an entry of its layer's table of 2^bits.

    A share of each token's channels, over all kv heads, is kept apart: fp16 value and 16-bit channel, and a 32-bit
    pointer a token and matrix. Values have an fp16 scale and offset a token; keys have theirs a channel, offline.

    Attributes:
        outliers: share of a token's channels kept apart. sinks: first tokens that stay at 16 bits.
    """

    bits: int = 3
    outliers: float = 0.01
    sinks: int = 1
    linear = False
    joint = True
    instructions = 1  # see `work`

    def _outliers(self, geo: Geometry, dim: int) -> int:
        return ceil(self.outliers * geo.kv_heads * dim)

    def static_bytes(self, geo: Geometry) -> int:
        """Two tables a layer; an fp16 offset and range for each channel of the keys."""
        return geo.model.layers * (4 * (1 << self.bits) + 4 * geo.kv_heads * geo.key_dim)

    def bytes(self, tokens: Ints, key_dim: int, value_dim: int) -> Parts:
        """Packed codes of one kv head, and the sinks."""
        whole = np.minimum(tokens, self.sinks)
        coded = tokens - whole
        key = packed(coded, key_dim, self.bits) + whole * (2 * key_dim)
        value = packed(coded, value_dim, self.bits) + whole * (2 * value_dim)
        return Parts(key, value, np.zeros_like(tokens))

    def layer_bytes(self, geo: Geometry, tokens: Ints) -> Ints:
        """Scale and offset of each token's values, outliers with their pointers."""
        many = self._outliers(geo, geo.key_dim) + self._outliers(geo, geo.value_dim)
        sparse = 4 * many + 8 if many else 0
        return np.maximum(tokens - self.sinks, 0) * (4 + sparse)

    def allocated(self, tokens: Ints, block: int, key_dim: int, value_dim: int) -> Ints:
        """Whole pages, and the sinks from the start."""
        pages = self.bytes(-(-tokens // block) * block + self.sinks, key_dim, value_dim).total
        found: Ints = pages * (tokens > 0)
        return found

    def work(self, tokens: Ints, key_dim: int, value_dim: int) -> Ints:
        """Shift, mask, table and scale for each element (4); keys are rotated as well (3)."""
        return np.maximum(tokens - self.sinks, 0) * (7 * key_dim + 4 * value_dim)

    def decode_ops(self, geo: Geometry, kind: LayerKind, sums: Decode) -> list[Op]:
        """Sparse products with keys and with values; the new token's outliers are searched."""
        many = self._outliers(geo, geo.key_dim) + self._outliers(geo, geo.value_dim)
        width = geo.kv_heads * (geo.key_dim + geo.value_dim)
        each = sums.kept / sum(kind.heads)
        return [
            elementwise("outlier_products", each * 4.0 * geo.query_heads, 2, kind.layers, each * (3.0 * many)),
            elementwise("find_outliers", sums.sequences * (6.0 * width), 2, kind.layers),
        ]

    def chunk_ops(self, geo: Geometry, kind: LayerKind, chunk: Chunk) -> list[Op]:
        """Outliers of every new token are searched, its codes looked up."""
        width = geo.kv_heads * (geo.key_dim + geo.value_dim)
        work = chunk.new * (width * float(self.bits))
        return [elementwise("find_outliers", chunk.new * (6.0 * width), 3, kind.layers, work)]
