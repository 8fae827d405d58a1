"""Seconds of kernels_ref's paged decode attention over rows of unlike lengths: the longest row's CTAs, or all bytes.

The kernel chooses one tile and one split for a batch, by its longest row: where rows are many, few CTAs share the
longest, and their blocks pass one by one while other SMs have nothing left to do.
"""

from dataclasses import dataclass

import numpy as np

from kvsim.cost.curves import Floats, Shape, bodies, figures
from kvsim.cost.curves.paged import TILES, chosen, tile
from kvsim.specs.hardware import DTYPE_BYTES, Chip


@dataclass(frozen=True)
class RaggedDecodeCurve:
    """One query token a sequence over its cache.

    Attributes:
        launch_s: the kernel's ramp and drain, and the merge's.
        cta_s: of one CTA, with keys or without; an SM runs its CTAs in turn.
        block_s, small_block_s: of one block of keys in a CTA nearly alone on the chip: of the tile that has an SM for
            itself, and of tiles of which an SM holds several.
        memory_share: of HBM bandwidth.
        exposed: share of the shorter of both that the longer does not hide.
    """

    launch_s: float
    cta_s: float
    block_s: float
    small_block_s: float
    memory_share: float
    exposed: float

    def seconds(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> Floats:
        """Seconds of one layer. Shape: batch, tokens of all rows, longest row, heads, kv_heads, head_dim, dtype."""
        latency, longest, memory = self._work(chip, shape)
        return latency + bodies([longest, memory], self.exposed)

    def parts(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> dict[str, Floats]:
        """Latency, the longest row's blocks in turn, HBM bandwidth."""
        return dict(zip(("latency", "blocks in turn", "HBM bandwidth"), self._work(chip, shape), strict=True))

    def _work(self, chip: Chip, shape: Shape) -> tuple[Floats, Floats, Floats]:
        batch, tokens, longest, kv_heads, dim = figures(shape, "batch", "tokens", "longest", "kv_heads", "head_dim")
        width, rows = DTYPE_BYTES[shape["dtype"]], batch * kv_heads
        keys, resident = np.moveaxis(TILES[tile(width, rows, longest, 2 * rows * longest * dim * width)], -1, 0)
        parts, each = chosen(rows, np.maximum(1, np.ceil(longest / keys)), chip.multiprocessors, resident)
        latency = self.launch_s + self.cta_s * np.ceil(rows * parts / (chip.multiprocessors * resident))
        pace = np.where(resident == 1, self.block_s, self.small_block_s)
        memory = 2 * tokens * kv_heads * dim * width / (self.memory_share * chip.memory.bandwidth)
        return latency, each * pace, memory
