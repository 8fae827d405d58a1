"""Codebooks: channels coupled into one index, rows as sums of a dictionary's."""

from dataclasses import dataclass
from math import ceil

import numpy as np

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.kernels import elementwise, weights_read
from kvsim.cost.op import Num, Op
from kvsim.traits.encoding import Ints, Parts, Quantizer
from kvsim.traits.quantizers import packed
from kvsim.traits.trait import Chunk, Decode


@dataclass(frozen=True)
class Coupled(Quantizer):
    """CQ: `channels` channels together are one index of `code_bits` into a table of their kv head, learnt offline.

    Keys are stored before RoPE.
    """

    channels: int = 8
    code_bits: int = 8
    instructions = 1  # see `work`
    linear = False

    def static_bytes(self, geo: Geometry) -> int:
        """Tables of fp16 centroids for keys and for values of each layer and kv head."""
        return geo.model.layers * geo.kv_heads * (geo.key_dim + geo.value_dim) * (1 << self.code_bits) * 2

    def bytes(self, tokens: Ints, key_dim: int, value_dim: int) -> Parts:
        """Indices alone."""
        key = packed(tokens, ceil(key_dim / self.channels), self.code_bits)
        return Parts(key, packed(tokens, ceil(value_dim / self.channels), self.code_bits), np.zeros_like(tokens))

    def work(self, tokens: Ints, key_dim: int, value_dim: int) -> Ints:
        """An index and a load of two channels from shared memory each; keys are rotated as well (3)."""
        return tokens * (4 * key_dim + value_dim)

    def _search(self, geo: Geometry, kind: LayerKind, new: Num) -> list[Op]:
        width = sum(kind.heads) * (geo.key_dim + geo.value_dim)
        work = new * (1.0 * width * (1 << self.code_bits))
        return [elementwise("nearest_centroid", new * (2.5 * width), 1, kind.layers, work)]

    def chunk_ops(self, geo: Geometry, kind: LayerKind, chunk: Chunk) -> list[Op]:
        """Every new token is compared with all centroids."""
        return self._search(geo, kind, chunk.new)

    def decode_ops(self, geo: Geometry, kind: LayerKind, sums: Decode) -> list[Op]:
        """The same for the new token, and the tables are read."""
        tables = 2.0 * sum(kind.heads) * (geo.key_dim + geo.value_dim) * (1 << self.code_bits)
        return [weights_read("codebooks", tables, kind.layers), *self._search(geo, kind, sums.sequences)]


@dataclass(frozen=True)
class SparseCodes(Quantizer):
    """CSR: a row is a sum of `atoms` rows of its layer's dictionary: an index and a weight each.

    Attributes:
        dictionary: rows of it, for keys and for values of a layer. weight_bits: of a weight.
    """

    atoms: int = 8
    dictionary: int = 4096
    weight_bits: int = 4
    instructions = 1  # see `work`
    linear = False

    def static_bytes(self, geo: Geometry) -> int:
        """Both dictionaries of each layer and the levels of their weights (assumed: each atom in turn has its own)."""
        levels = 2 * self.atoms << self.weight_bits
        return geo.model.layers * (self.dictionary * (geo.key_dim + geo.value_dim) + levels) * 2

    def bytes(self, tokens: Ints, key_dim: int, value_dim: int) -> Parts:
        """Indices and weights of a key and of a value."""
        row = self.atoms * (ceil(np.log2(self.dictionary)) + self.weight_bits)
        value = packed(tokens, row, 1) if value_dim else np.zeros_like(tokens)
        return Parts(packed(tokens, row, 1), value, np.zeros_like(tokens))

    def work(self, tokens: Ints, key_dim: int, value_dim: int) -> Ints:
        """Queries meet the dictionary, not the rows: a gather, a scale and an addition for each atom."""
        return tokens * (3 * self.atoms * (2 if value_dim else 1))

    def _pursue(self, geo: Geometry, kind: LayerKind, new: Num) -> list[Op]:
        width = sum(kind.heads) * (geo.key_dim + geo.value_dim)
        flops = new * (2.0 * self.atoms * self.dictionary * width)
        return [Op("matching_pursuit", "gemm", "gpu", {"bf16": flops}, new * (4.0 * width), self.atoms, kind.layers)]

    def chunk_ops(self, geo: Geometry, kind: LayerKind, chunk: Chunk) -> list[Op]:
        """Each new row is compared with the whole dictionary, once for every atom."""
        return self._pursue(geo, kind, chunk.new)

    def decode_ops(self, geo: Geometry, kind: LayerKind, sums: Decode) -> list[Op]:
        """The same for the new token; queries are multiplied with the dictionary, and so are the weights of values."""
        tables = 2.0 * self.dictionary * (geo.key_dim + geo.value_dim)
        flops = sums.sequences * (2.0 * geo.query_heads * self.dictionary * (geo.key_dim + geo.value_dim))
        moved = sums.sequences * (4.0 * geo.query_heads * self.dictionary)
        products = Op("dictionary_products", "gemm", "gpu", {"bf16": flops}, moved, 2, kind.layers)
        return [weights_read("dictionaries", tables, kind.layers), products, *self._pursue(geo, kind, sums.sequences)]
