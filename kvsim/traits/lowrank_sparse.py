"""Codes, low-rank factors of what they miss, and the largest and smallest elements apart: GEAR."""

from dataclasses import dataclass

import numpy as np

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.kernels import elementwise
from kvsim.cost.op import Op
from kvsim.traits.encoding import Ints, Parts, Quantizer
from kvsim.traits.quantizers import packed
from kvsim.traits.trait import Decode, End


@dataclass(frozen=True)
class LowRankSparse(Quantizer):
    """GEAR: KIVI's codes, factors of rank r of what they miss, and outliers apart (fp16, 16-bit place in their vector).

    Class 0 is the prompt, factored as a whole; class 1 what was generated, factored a block of `residual` at a time.

    Attributes:
        rank, block_rank: of the prompt's factors, and of each block's. sparse: share of elements kept apart.
        loops: of the power iteration.
    """

    bits: int = 4
    group: int = 64
    residual: int = 64
    rank: int = 4
    block_rank: int = 2
    sparse: float = 0.02
    loops: int = 3
    phase: int = 0
    instructions = 6
    linear = False

    @property
    def period(self) -> int:  # type: ignore[override]
        """Blocks are compressed at once."""
        return self.residual

    def of_class(self, index: int) -> Quantizer:
        """Prompt or generated."""
        return (
            self
            if index == self.phase
            else LowRankSparse(
                self.bits, self.group, self.residual, self.rank, self.block_rank, self.sparse, self.loops, index
            )
        )

    def _coded(self, tokens: Ints) -> Ints:
        """A prompt is coded whole; generated tokens wait until a block is full."""
        return tokens if self.phase == 0 else tokens - tokens % self.residual

    def bytes(self, tokens: Ints, key_dim: int, value_dim: int) -> Parts:
        """Codes and recent rows; scales, factors and outliers are metadata."""
        coded = self._coded(tokens)
        recent, width = tokens - coded, key_dim + value_dim
        if self.phase == 0:
            blocks, block, rank = (coded > 0).astype(np.int64), coded, self.rank
        else:
            blocks, block, rank = coded // self.residual, np.full_like(coded, self.residual), self.block_rank
        groups = blocks * -(-block // self.group) * key_dim + coded * -(-value_dim // self.group)
        sides = int(key_dim > 0) + int(value_dim > 0)
        factors = 2 * rank * (sides * coded + blocks * width)
        apart = 4 * blocks * (np.ceil(self.sparse * (block * key_dim)) + np.ceil(self.sparse * (block * value_dim)))
        key = packed(coded, key_dim, self.bits) + recent * (2 * key_dim)
        value = packed(coded, value_dim, self.bits) + recent * (2 * value_dim)
        return Parts(key, value, 4 * groups + factors + apart.astype(np.int64))

    def allocated(self, tokens: Ints, block: int, key_dim: int, value_dim: int) -> Ints:
        """Whole pages; a buffer of `residual` rows from the first generated token on."""
        coded = self._coded(-(-tokens // block) * block)
        waiting = self.residual * 2 * (key_dim + value_dim) * (tokens > 0) if self.phase else 0
        found: Ints = self.bytes(coded, key_dim, value_dim).total + waiting
        return found

    def quantized(self, tokens: Ints, key_dim: int, value_dim: int) -> Ints:
        """Coded ones."""
        return self._coded(tokens) * (key_dim + value_dim)

    def end_ops(self, geo: Geometry, kind: LayerKind, end: End) -> list[Op]:
        """Outliers are selected, then each power iteration multiplies the misses twice, for keys and values."""
        width = sum(kind.heads) * (geo.key_dim + geo.value_dim)
        flops = end.prompt * (2.0 * self.loops * 2 * self.rank * width)
        moved = end.prompt * (2.0 * self.loops * 2 * width)
        return [
            elementwise("select_outliers", end.prompt * (8.0 * width), 4, kind.layers),
            Op("power_iteration", "gemm", "gpu", {"bf16": flops}, moved, 4.0 * self.loops, kind.layers),
        ]

    def decode_ops(self, geo: Geometry, kind: LayerKind, sums: Decode) -> list[Op]:
        """Products with the factors and with what is kept apart; a block is factored every `residual` steps."""
        width = geo.key_dim + geo.value_dim
        work = sums.kept * (geo.queries_per_kv_head * (4.0 * self.rank + 2.0 * self.sparse * width))
        block = sums.sequences * (sum(kind.heads) * width * (8.0 + 4.0 * self.loops))
        return [
            elementwise("correct_scores", sums.kept * (4.0 * geo.queries_per_kv_head), 3, kind.layers, work),
            elementwise("compress_block", block, 8 / self.residual, kind.layers),
        ]
