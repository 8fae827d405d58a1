"""Seconds of decodes that compute more than they read: MLA's latents (kernels_ref/mla.py), keys rebuilt from low rank
(kernels_ref/lowrank.py). Blocks of 64 keys in CTAs, splits by `kernels_ref.splits.choose`."""

from dataclasses import dataclass

import numpy as np

from kvsim.cost.curves import Floats, Shape, bodies, figures, partial_bytes
from kvsim.cost.curves.paged import chosen
from kvsim.specs.hardware import Chip

KEYS = 64  # of a block
LATENT, ROPE = 512, 64  # channels of MLA's cache
TILE_HEADS = 64  # query heads that a CTA of the MLA kernel has at most
MLA_CTAS, LOWRANK_CTAS = 1.0, 2.0  # of each kernel on one SM


@dataclass(frozen=True)
class MlaDecodeCurve:
    """All query heads over one latent a token.

    Attributes:
        launch_s: the kernel's ramp and drain, and the merge's.
        cta_s: of one CTA with its first block of keys; an SM runs its CTAs in turn.
        block_s, few_block_s: of each further block: for a tile of 64 query heads, which its products bind, and of 16.
        memory_share: of HBM bandwidth, which partial results cross too.
    """

    launch_s: float
    cta_s: float
    block_s: float
    few_block_s: float
    memory_share: float

    def seconds(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> Floats:
        """Seconds of one layer. Shape: batch, context, heads."""
        latency, serial, memory = self._work(chip, shape)
        return latency + np.maximum(serial, memory)

    def parts(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> dict[str, Floats]:
        """Latency, blocks in turn, HBM bandwidth."""
        return dict(zip(("latency", "blocks in turn", "HBM bandwidth"), self._work(chip, shape), strict=True))

    def _work(self, chip: Chip, shape: Shape) -> tuple[Floats, Floats, Floats]:
        batch, context, heads = figures(shape, "batch", "context", "heads")
        rows, bytes_per_s = batch * np.ceil(heads / TILE_HEADS), self.memory_share * chip.memory.bandwidth
        parts, each = chosen(rows, np.ceil(context / KEYS), chip.multiprocessors, np.full(rows.shape, MLA_CTAS))
        waves = np.ceil(rows * parts / (chip.multiprocessors * MLA_CTAS))
        memory = 2.0 * batch * context * (LATENT + ROPE) / bytes_per_s
        partial = partial_bytes(batch, heads, LATENT, parts) / bytes_per_s
        latency = self.launch_s + self.cta_s * waves + partial  # of a single part, too
        block_s = np.where(heads > TILE_HEADS / 2, self.block_s, self.few_block_s)
        return latency, waves * (each - 1) * block_s, memory


@dataclass(frozen=True)
class LowRankDecodeCurve:
    """Keys rebuilt from a latent that all kv heads share, rotated, then attended to; each kv head rebuilds its own.

    Attributes:
        launch_s: the kernel's ramp and drain, and the merge's.
        cta_s: of one CTA, beside its keys; two share an SM, which runs them in turn.
        block_s: of one block of keys, beside its rebuilding.
        rank_s: of that, for each channel of the latent.
        memory_share: of HBM bandwidth.
        exposed: share of the shorter of blocks in turn and HBM traffic that the longer does not hide.
        split_s: of each split in the merge.
    """

    launch_s: float
    cta_s: float
    block_s: float
    rank_s: float
    memory_share: float
    exposed: float
    split_s: float

    def seconds(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> Floats:
        """Seconds of one layer. Shape: batch, context, rank, heads, kv_heads, head_dim."""
        latency, serial, memory = self._work(chip, shape)
        return latency + bodies([serial, memory], self.exposed)

    def parts(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> dict[str, Floats]:
        """Latency, blocks in turn, HBM bandwidth."""
        return dict(zip(("latency", "blocks in turn", "HBM bandwidth"), self._work(chip, shape), strict=True))

    def _work(self, chip: Chip, shape: Shape) -> tuple[Floats, Floats, Floats]:
        batch, context, rank, heads, kv_heads, dim = figures(
            shape, "batch", "context", "rank", "heads", "kv_heads", "head_dim"
        )
        rows, bytes_per_s = batch * kv_heads, self.memory_share * chip.memory.bandwidth
        parts, each = chosen(rows, np.ceil(context / KEYS), chip.multiprocessors, np.full(rows.shape, LOWRANK_CTAS))
        waves = np.ceil(rows * parts / (chip.multiprocessors * LOWRANK_CTAS))
        memory = (2.0 * batch * context * (rank + kv_heads * dim) + 4.0 * context * dim) / bytes_per_s  # cosines, sines
        partial = partial_bytes(batch, heads, dim, parts) / bytes_per_s
        latency = self.launch_s + self.cta_s * waves + self.split_s * parts + partial
        return latency, waves * each * (self.block_s + rank * self.rank_s), memory
