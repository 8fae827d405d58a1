"""Seconds of decode attention on one chip: keys split over the SMs, blocks of keys in a CTA, the merge."""

from dataclasses import dataclass

import numpy as np

from kvsim.cost.curves import Floats, Shape, bodies
from kvsim.specs.hardware import DTYPE_BYTES, Chip

KEYS = 128  # of a block that a CTA loads at once
MOST_SPLITS = 128
ENOUGH = 0.85  # of the best share of SMs that a number of splits keeps busy
FULL = 0.8  # of the SMs' slots: so many CTAs are not split further


@dataclass(frozen=True)
class DecodeCurve:
    """One query token a sequence over its cache; the query heads that share a kv head are one CTA's tile.

    Attributes:
        launch_s: the kernel's ramp and drain.
        cta_s: of one CTA, beside its keys; an SM runs its CTAs in turn.
        block_s: of one block of keys in a CTA, by latency.
        memory_share: of HBM bandwidth.
        load_bytes_per_clock: keys and values that one SM takes in.
        exposed: share of the shorter of loads and HBM traffic that the longer does not hide.
        merge_s, split_s: the second kernel that adds up splits, and for each split.
        group_s: two small copies that bring grouped query heads together and back (batch and kv heads above 1).
        l2_bytes_per_clock: what one SM takes in where the cache rests in L2, as it does in some benchmarks.
        tile_heads: query heads of a tile.
        splits_mha: whether keys are split too where every query head has its own.
    """

    launch_s: float
    cta_s: float
    block_s: float
    memory_share: float
    load_bytes_per_clock: float
    exposed: float
    merge_s: float
    split_s: float
    group_s: float
    l2_bytes_per_clock: float
    tile_heads: int = 64
    splits_mha: bool = False

    def seconds(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> Floats:
        """Seconds of one layer. Shape: batch, context, heads, kv_heads, head_dim, dtype (of the cache)."""
        latency, serial, memory = self._work(chip, shape, hot)
        return latency + bodies([serial, memory], self.exposed)

    def parts(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> dict[str, Floats]:
        """Latency, the CTAs' own pace, HBM bandwidth."""
        return dict(zip(("latency", "SM loads", "HBM bandwidth"), self._work(chip, shape, hot), strict=True))

    def _work(self, chip: Chip, shape: Shape, hot: Floats | float) -> tuple[Floats, Floats, Floats]:
        batch, context, heads, kv_heads = (
            np.asarray(shape[name], np.float64) for name in ("batch", "context", "heads", "kv_heads")
        )
        sms, row_bytes = chip.multiprocessors, 2 * shape["head_dim"] * DTYPE_BYTES[shape["dtype"]]
        tiles = batch * kv_heads * np.ceil(heads / (kv_heads * self.tile_heads))
        blocks = np.ceil(context / KEYS)
        grouped = heads > kv_heads
        parts = np.where(grouped | self.splits_mha, splits(tiles, blocks, 2 * sms), 1)
        ctas, blocks_each = tiles * parts, np.ceil(blocks / parts)
        sm_bytes_per_s = self.load_bytes_per_clock * chip.clock
        paced = np.ceil(ctas / (2 * sms)) * blocks_each * self.block_s
        loaded = np.ceil(ctas / sms) * np.minimum(context, blocks_each * KEYS) * row_bytes / sm_bytes_per_s
        moved = batch * context * kv_heads * row_bytes
        memory = moved * (1 - hot) / (self.memory_share * chip.memory.bandwidth)
        memory = memory + moved * hot / (self.l2_bytes_per_clock * chip.clock * sms)
        latency = self.launch_s + self.cta_s * np.maximum(1, ctas / sms)
        partial = 8.0 * batch * heads * (shape["head_dim"] + 2) * parts / (sm_bytes_per_s * sms)
        latency = latency + np.where(parts > 1, self.merge_s + self.split_s * parts + partial, 0)
        queries = 8.0 * batch * heads * shape["head_dim"] / (self.memory_share * chip.memory.bandwidth)
        latency = latency + np.where(grouped & (batch > 1) & (kv_heads > 1), self.group_s + queries, 0)
        return latency, np.maximum(paced, loaded), memory


def splits(tiles: Floats, blocks: Floats, slots: int) -> Floats:
    """Parts that FlashAttention-2 cuts each sequence's blocks of keys into: the fewest that fill `slots` well.

    Of `num_splits_heuristic` in Dao-AILab/flash-attention: the share of slots busy in the last wave, at least 85 % of
    the best; splits that leave a CTA as many blocks as fewer splits do are not considered.
    """
    shape = np.broadcast_shapes(np.shape(tiles), np.shape(blocks))
    tiles, blocks = (np.broadcast_to(value, shape).reshape(-1) for value in (tiles, blocks))
    found = np.ones(tiles.size)
    few = np.flatnonzero((tiles < FULL * slots) & (blocks > 1))
    if not few.size:
        return found.reshape(shape)
    parts = np.arange(1.0, min(MOST_SPLITS, slots, blocks[few].max()) + 1)
    waves = tiles[few, None] * parts / slots
    each = np.ceil(blocks[few, None] / parts)
    useful = parts <= blocks[few, None]
    useful[:, 1:] &= each[:, 1:] != each[:, :-1]
    busy = np.where(useful, waves / np.ceil(waves), 0)
    found[few] = parts[np.argmax(busy >= ENOUGH * busy.max(axis=1, keepdims=True), axis=1)]
    return found.reshape(shape)
