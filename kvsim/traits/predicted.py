"""AQUA-KV: what a layer's keys and values add to a linear prediction from the layer before, coded on a grid."""

from collections.abc import Hashable
from dataclasses import dataclass, replace
from math import ceil, log2

import numpy as np

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.kernels import elementwise, weights_read
from kvsim.cost.op import Num, Op
from kvsim.traits.encoding import Ints, Parts, Quantizer
from kvsim.traits.quantizers import packed
from kvsim.traits.trait import Chunk, Decode


@dataclass(frozen=True)
class Predicted(Quantizer):
    """Residuals of a prediction, rotated by Hadamard over `group` channels, two channels to a point of a grid.

    Keys are predicted from the previous layer's, values from their own keys and the previous layer's values; keys are
    stored before RoPE. Reading a layer rebuilds all of its tokens, which the next layer's prediction needs.

    Attributes:
        bits: an element (2, 3 or 4: grids of 16, 64, 256 points). first_bits: in the first layer, not predicted.
        sinks: first tokens at 16 bits. buffer: newest tokens at 16 bits, at least; coded `buffer` at a time.
    """

    bits: int = 2
    first_bits: int = 4
    group: int = 1024
    sinks: int = 4
    buffer: int = 128
    first: bool = False
    joint = True
    predicts = True
    linear = False
    instructions = 1  # see `work`

    def label(self, geo: Geometry, layer: int) -> Hashable:
        """Whether it is the first."""
        return layer == 0

    def of_kind(self, kind: LayerKind) -> Quantizer:
        """The first layer's bits."""
        return replace(self, first=0 in kind.index)

    @property
    def period(self) -> int:  # type: ignore[override]
        """Tokens are coded in blocks."""
        return self.buffer

    def static_bytes(self, geo: Geometry) -> int:
        """Predictors of all layers but the first, with constants, 16 bits, and two grids."""
        width = geo.kv_heads * geo.key_dim
        grids: int = 4**self.bits + 4**self.first_bits
        return 2 * ((geo.model.layers - 1) * (3 * width**2 + 2 * width) + 2 * grids)

    def _coded(self, tokens: Ints) -> Ints:
        """Tokens but the sinks and the newest: at least `buffer`, less than twice as many."""
        later = np.maximum(tokens - self.sinks, 0)
        found: Ints = np.maximum(later - later % self.buffer - self.buffer, 0)
        return found

    def bytes(self, tokens: Ints, key_dim: int, value_dim: int) -> Parts:
        """Codes of one kv head, and tokens at 16 bits."""
        coded = self._coded(tokens)
        whole, bits = tokens - coded, self.first_bits if self.first else self.bits
        key = packed(coded, key_dim, bits) + whole * (2 * key_dim)
        return Parts(key, packed(coded, value_dim, bits) + whole * (2 * value_dim), np.zeros_like(tokens))

    def layer_bytes(self, geo: Geometry, tokens: Ints) -> Ints:
        """An fp16 scale for each group of channels."""
        groups = ceil(geo.kv_heads * geo.key_dim / self.group) + ceil(geo.kv_heads * geo.value_dim / self.group)
        return self._coded(tokens) * (2 * groups)

    def allocated(self, tokens: Ints, block: int, key_dim: int, value_dim: int) -> Ints:
        """Pages of codes; sinks and twice the buffer from the start."""
        bits = self.first_bits if self.first else self.bits
        codes = packed(-(-tokens // block) * block, key_dim + value_dim, bits)
        whole = (self.sinks + 2 * self.buffer) * 2 * (key_dim + value_dim)
        found: Ints = codes + whole * (tokens > 0)
        return found

    def work(self, tokens: Ints, key_dim: int, value_dim: int) -> Ints:
        """A grid point for two channels (2), log2(group) butterflies, and RoPE of keys (3)."""
        turned = 2 + round(log2(self.group))
        return self._coded(tokens) * ((key_dim + value_dim) * turned + 3 * key_dim)

    def _predict(self, geo: Geometry, kind: LayerKind, tokens: Num, name: str) -> list[Op]:
        width = geo.kv_heads * geo.key_dim
        if 0 in kind.index:
            return []
        flops, moved = tokens * (6.0 * width**2), tokens * (8.0 * width)
        return [
            weights_read(f"{name}_weights", 6.0 * width**2, kind.layers),
            Op(name, "gemm", "gpu", {"bf16": flops}, moved, 3, kind.layers),
        ]

    def decode_ops(self, geo: Geometry, kind: LayerKind, sums: Decode) -> list[Op]:
        """Every cached token is predicted anew from the layer before, which is read and whose successor is written."""
        return self._predict(geo, kind, sums.kept / sum(kind.heads), "predict_cache")

    def chunk_ops(self, geo: Geometry, kind: LayerKind, chunk: Chunk) -> list[Op]:
        """New tokens are predicted, rotated and searched for on the grid."""
        width = sum(kind.heads) * (geo.key_dim + geo.value_dim)
        work = chunk.new * (width * (log2(self.group) + 2.0**self.bits))
        search = elementwise("nearest_grid_point", chunk.new * (2.5 * width), 2, kind.layers, work)
        return [*self._predict(geo, kind, chunk.new, "predict_new"), search]
