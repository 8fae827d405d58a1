"""Quantizers beside KIVI's: per token, block floating point, and those that are only simulated."""

from dataclasses import dataclass
from math import ceil

import numpy as np

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.kernels import elementwise
from kvsim.cost.op import Op
from kvsim.traits.encoding import Ints, Parts, Quantizer
from kvsim.traits.trait import Chunk, Decode


def packed(tokens: Ints, elements: int, bits: float) -> Ints:
    """Bytes of `bits` bits for `elements` elements a token, rounded up to whole bytes."""
    found: Ints = np.ceil(tokens * (elements * bits / 8)).astype(np.int64)
    return found


@dataclass(frozen=True)
class TokenQuantizer(Quantizer):
    """Keys and values per token, in groups of `group` channels with an fp16 scale and minimum each.

    Attributes:
        sinks: tokens that stay at 16 bits, those of largest activations, each with its 32-bit slot number.
        clip: what both ends of a group's range are scaled by.
    """

    bits: int = 4
    group: int = 64
    sinks: int = 0
    clip: float = 1.0
    instructions = 6  # as KIVI's
    linear = False

    def bytes(self, tokens: Ints, key_dim: int, value_dim: int) -> Parts:
        """Packed codes, groups' scales, and the sinks."""
        whole = np.minimum(tokens, self.sinks)
        coded = tokens - whole
        groups = ceil(key_dim / self.group) + ceil(value_dim / self.group)
        key = packed(coded, key_dim, self.bits) + whole * (2 * key_dim)
        value = packed(coded, value_dim, self.bits) + whole * (2 * value_dim)
        return Parts(key, value, coded * (4 * groups) + whole * 4)

    def allocated(self, tokens: Ints, block: int, key_dim: int, value_dim: int) -> Ints:
        """Whole pages, and the sinks from the start."""
        pages = self.bytes(-(-tokens // block) * block + self.sinks, key_dim, value_dim).total
        found: Ints = pages * (tokens > 0)
        return found

    def quantized(self, tokens: Ints, key_dim: int, value_dim: int) -> Ints:
        """All but the sinks."""
        return np.maximum(tokens - self.sinks, 0) * (key_dim + value_dim)


@dataclass(frozen=True)
class BlockFloat(Quantizer):
    """Block floating point: `bits` bits of sign and mantissa an element, an exponent of 8 bits a block of channels.

    Attributes:
        native: hardware multiplies blocks as they are; otherwise exponents are put back by the plain cores.
    """

    bits: int = 8
    block: int = 32
    native: bool = False
    linear = False

    @property
    def instructions(self) -> int:  # type: ignore[override]
        """Shift and or, two elements at a time, where hardware does not take blocks."""
        return 0 if self.native else 2

    def bytes(self, tokens: Ints, key_dim: int, value_dim: int) -> Parts:
        """Mantissas, and an exponent a block."""
        blocks = ceil(key_dim / self.block) + ceil(value_dim / self.block)
        return Parts(packed(tokens, key_dim, self.bits), packed(tokens, value_dim, self.bits), tokens * blocks)


@dataclass(frozen=True)
class Simulated(Quantizer):
    """Released code that rounds values but stores them at 16 bits: full bytes, and extra passes for new tokens."""

    passes: int = 4

    def chunk_ops(self, geo: Geometry, kind: LayerKind, chunk: Chunk) -> list[Op]:
        """New rows are read and written in each pass."""
        row = 4.0 * sum(kind.heads) * (geo.key_dim + geo.value_dim)
        return [elementwise("round_rows", chunk.new * (row * self.passes), float(self.passes), kind.layers)]

    def decode_ops(self, geo: Geometry, kind: LayerKind, sums: Decode) -> list[Op]:
        """The same for the new token."""
        row = 4.0 * sum(kind.heads) * (geo.key_dim + geo.value_dim)
        return [elementwise("round_rows", sums.sequences * (row * self.passes), float(self.passes), kind.layers)]
