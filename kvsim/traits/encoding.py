"""Encoding: bytes of kept tokens, metadata and residual windows included, and what reading and writing them computes.

An encoding is a chain of a basis (which channels a row keeps) and a quantizer (how many bits each takes).
Counts are of one kv head in one layer of one sequence, exact integers, any shape.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.traits.trait import Trait

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Parts:
    """Bytes of keys, values and metadata."""

    key: Ints
    value: Ints
    metadata: Ints

    @property
    def total(self) -> Ints:
        """All of it."""
        return self.key + self.value + self.metadata


@dataclass(frozen=True)
class Quantizer(Trait):
    """16-bit elements: the null quantizer, and what others override."""

    bits: int = 16
    instructions = 0  # plain-core instructions to turn one stored element into an operand
    linear = True  # bytes are proportional to tokens
    joint = False  # whether `layer_bytes` is in use
    predicts = (
        False  # whether a layer is read through the one before: both keep the same tokens, in the model's channels
    )
    copies = False  # each decode step copies the cache to append a token
    packed = 0  # bits of codes that KIVI's kernel multiplies as they lie; 0: of no kernel of its own
    period = 1  # stored(n + period) >= stored(n)

    def of_class(self, index: int) -> "Quantizer":
        """The quantizer of a token class (0 unless the retention sorts tokens into several)."""
        return self

    def of_kind(self, kind: LayerKind) -> "Quantizer":
        """The quantizer of the layers of a kind; `label` must tell apart those that differ."""
        return self

    def layer_bytes(self, geo: Geometry, tokens: Ints) -> Ints:
        """Metadata of `tokens` tokens that all kv heads of a layer share, so that heads must keep the same tokens."""
        return np.zeros_like(tokens)

    def bytes(self, tokens: Ints, key_dim: int, value_dim: int) -> Parts:
        """Stored bytes of `tokens` tokens of one sequence."""
        none = np.zeros_like(tokens)
        return Parts(tokens * (key_dim * self.bits) // 8, tokens * (value_dim * self.bits) // 8, none)

    def allocated(self, tokens: Ints, block: int, key_dim: int, value_dim: int) -> Ints:
        """Bytes that an engine sets aside for `tokens` tokens in pages of `block` tokens."""
        return self.bytes(-(-tokens // block) * block, key_dim, value_dim).total

    def quantized(self, tokens: Ints, key_dim: int, value_dim: int) -> Ints:
        """Elements that a reader must turn into operands."""
        return tokens * (key_dim + value_dim) if self.instructions else np.zeros_like(tokens)

    def work(self, tokens: Ints, key_dim: int, value_dim: int) -> Ints:
        """Plain-core instructions for that."""
        return self.quantized(tokens, key_dim, value_dim) * self.instructions


@dataclass(frozen=True)
class Basis(Trait):
    """Rows keep all their channels: the null basis, and what others override. Dims are elements of one kv head.

    A basis hands rows of other widths to the quantizer. `joint`: one row serves all kv heads of a layer, so that its
    widths are the layer's and every head must keep the same tokens.
    """

    linear = True  # bytes are proportional to tokens
    joint = False
    spans_heads = False  # a row takes channels of several kv heads, which must keep the same tokens
    instructions = 0  # plain-core instructions to bring one dequantized element back (a rotation's, say)

    def of_kind(self, kind: LayerKind) -> "Basis":
        """The basis of the layers of a kind; `label` must tell apart those that differ."""
        return self

    def of_class(self, index: int) -> "Basis":
        """The basis of a token class (0 unless the retention sorts tokens into several)."""
        return self

    def key_dim(self, dim: int) -> int:
        """Channels that a stored key keeps."""
        return dim

    def value_dim(self, dim: int) -> int:
        """Channels that a stored value keeps."""
        return dim

    def metadata_bytes(self, dim: int) -> int:
        """Bytes per sequence, layer and row of heads: which channels."""
        return 0

    def bytes(self, quantizer: Quantizer, tokens: Ints, key_dim: int, value_dim: int) -> Parts:
        """Stored bytes of `tokens` tokens whose full rows have `key_dim` and `value_dim` channels."""
        return quantizer.bytes(tokens, self.key_dim(key_dim), self.value_dim(value_dim))

    def allocated(self, quantizer: Quantizer, tokens: Ints, block: int, key_dim: int, value_dim: int) -> Ints:
        """Bytes that an engine sets aside for the same in pages of `block` tokens."""
        return quantizer.allocated(tokens, block, self.key_dim(key_dim), self.value_dim(value_dim))

    def work(self, quantizer: Quantizer, tokens: Ints, key_dim: int, value_dim: int) -> Ints:
        """Plain-core instructions that make operands of the same."""
        widths = self.key_dim(key_dim), self.value_dim(value_dim)
        return quantizer.quantized(tokens, *widths) * quantizer.instructions + tokens * (
            sum(widths) * self.instructions
        )

    def rebuilt(self, tokens: Ints) -> Ints:
        """Tokens whose rows attention must rebuild to their full width."""
        return np.zeros_like(tokens)

    def rebuild_flops(self, geo: Geometry) -> int:
        """Tensor-core FLOPs to rebuild one kv head of one token, inside the attention kernel."""
        return 0

    def kv_columns(self, geo: Geometry) -> int | None:
        """Columns of the key and value projections of a layer on this chip, where they are not the model's."""
        return None


@dataclass(frozen=True)
class Float8(Quantizer):
    """One byte an element, e4m3, with one fp32 scale for keys and one for values in each layer (vLLM's fp8 cache)."""

    bits: int = 8
    instructions = 2  # a conversion and half a pack, two elements an instruction

    def static_bytes(self, geo: Geometry) -> int:
        """Two fp32 scales a layer."""
        return geo.model.layers * 8


@dataclass(frozen=True)
class GroupQuantizer(Quantizer):
    """KIVI: keys per channel in groups of `group` tokens, values per token in groups of `group` channels.

    Each group has an fp16 scale and an fp16 minimum, so an element costs bits + 32 / group. The newest tokens stay at
    16 bits: keys `tokens mod residual` of them, flushed `residual` at a time, values the last `residual`.
    """

    bits: int = 2
    group: int = 32
    residual: int = 128
    copies: bool = False  # each step copies all value codes to append one token
    value_bits: int = 0  # where values have others than keys
    instructions = 6  # shift, mask, or-in an exponent, scale and minimum by fused multiply-add, shared by two codes
    linear = False

    @property
    def packed(self) -> int:  # type: ignore[override]
        """2 or 4, where keys and values are alike."""
        return self.bits if self.bits in (2, 4) and self.value_bits in (0, self.bits) else 0

    @property
    def period(self) -> int:  # type: ignore[override]
        """Keys flush every `residual` tokens."""
        return self.residual

    def bytes(self, tokens: Ints, key_dim: int, value_dim: int) -> Parts:
        """Packed codes to whole bytes, group metadata, and both residual windows."""
        recent_keys, recent_values = tokens % self.residual, np.minimum(tokens, self.residual)
        old_keys, old_values = tokens - recent_keys, tokens - recent_values
        key = old_keys * (key_dim * self.bits) // 8 + recent_keys * (2 * key_dim)
        value = -(-old_values * (value_dim * (self.value_bits or self.bits)) // 8) + recent_values * (2 * value_dim)
        groups = -(-value_dim // self.group)
        return Parts(key, value, old_keys * (4 * key_dim) // self.group + old_values * (4 * groups))

    def allocated(self, tokens: Ints, block: int, key_dim: int, value_dim: int) -> Ints:
        """Pages of packed tokens, and both residual windows at full size from the start."""
        packed = -(-tokens // block) * block
        row = (
            (key_dim * self.bits + value_dim * (self.value_bits or self.bits)) / 8
            + 4 * key_dim / self.group
            + 4 * -(-value_dim // self.group)
        )
        windows = self.residual * 2 * (key_dim + value_dim)
        allocated: Ints = np.ceil(packed * row).astype(np.int64) + windows * (tokens > 0)
        return allocated

    def quantized(self, tokens: Ints, key_dim: int, value_dim: int) -> Ints:
        """Elements outside the residual windows."""
        old_values = np.maximum(tokens - self.residual, 0)
        elements: Ints = (tokens - tokens % self.residual) * key_dim + old_values * value_dim
        return elements
