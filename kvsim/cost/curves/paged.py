"""Seconds of kernels_ref's decode attention over a paged cache: CTAs of whole key blocks, and their merge.

Which tile and how many splits a shape gets is the kernel's own arithmetic (`kernels_ref/configs.py`, `splits.py`), done
here over arrays; a test holds the two against each other.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvsim.cost.curves import Floats, Shape, bodies, figures, partial_bytes
from kvsim.specs.hardware import DTYPE_BYTES, Chip

MOST_SPLITS = 256
SATURATES = 0.5  # a last, partial wave takes at least this share of a full one
SHORT = 64  # tokens of a row whose blocks are all asked for at once
WIDE = 128  # channels of the heads that most rows have
NARROW, BESIDE = 64, 3.0  # channels of which so many CTAs of the large 16-bit tile fit an SM, at 70 kB each
START_BLOCKS, MERGE_BLOCKS = 2.0, 0.02  # what the kernel's choice charges a CTA and a split, in blocks' times
# (keys of a block, CTAs on one SM) of the kernel's tiles: tiny, short rows, 8 bits, 8 bits large, 16 bits, large.
TILES = np.array([(32, 8), (64, 4), (32, 4), (64, 4), (128, 1), (64, 4)], np.float64)


@dataclass(frozen=True)
class PagedDecodeCurve:
    """One query token a sequence over pages of 16 tokens; the query heads that share a kv head are one tile.

    CTAs come in waves of as many as the SMs hold. A CTA's first block of keys comes with its start; the others take it
    at least `block_s` each, and longer where the SM's CTAs together load more than it takes in, or all CTAs of a wave
    more than HBM delivers. CTAs that have an SM each start after one another; of several on an SM one starts while
    others read. Those of one length end together, and the SM is filled again: what is left for a last wave keeps few
    SMs busy, each at what one SM can load.

    Attributes:
        launch_s: the kernel's ramp and drain.
        cta_s: of one CTA with its first block of keys, of 128 channels; of fewer it takes less in proportion.
        block_s, small_block_s: of each further block in a CTA, by latency: of the tile that has an SM for itself, and
            of tiles of which an SM holds several.
        memory_share: of HBM bandwidth.
        exposed: share of the shorter of CTAs' own pace and HBM traffic that the longer does not hide.
        load_bytes_per_clock: keys and values, padded to a power of two of channels, that one SM takes in, of several
            CTAs.
        merge_s, split_s: the second kernel that adds up splits, and for each split of a row.
    """

    launch_s: float
    cta_s: float
    block_s: float
    small_block_s: float
    memory_share: float
    exposed: float
    load_bytes_per_clock: float
    merge_s: float
    split_s: float

    def seconds(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> Floats:
        """Seconds of one layer. Shape: batch, context, heads, kv_heads, head_dim, dtype (of the cache)."""
        latency, whole, rest = self._work(chip, shape)
        return latency + bodies(whole, self.exposed) + bodies(rest, self.exposed)

    def parts(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> dict[str, Floats]:
        """Latency, blocks in turn, HBM bandwidth."""
        latency, whole, rest = self._work(chip, shape)
        return {"latency": latency, "blocks in turn": whole[0] + rest[0], "HBM bandwidth": whole[1] + rest[1]}

    def _work(self, chip: Chip, shape: Shape) -> tuple[Floats, list[Floats], list[Floats]]:
        """Latency, and [blocks in turn, HBM traffic] of the whole waves and of the last, partial one."""
        batch, context, heads, kv_heads, dim = figures(shape, "batch", "context", "heads", "kv_heads", "head_dim")
        width, bytes_per_s = DTYPE_BYTES[shape["dtype"]], self.memory_share * chip.memory.bandwidth
        rows = batch * kv_heads
        keys, resident = np.moveaxis(TILES[tile(width, rows, context, 2 * rows * context * dim * width)], -1, 0)
        parts, each = chosen(rows, np.maximum(1, np.ceil(context / keys)), chip.multiprocessors, resident)
        narrower_s = np.where(resident == 1, (1 - padded(dim) / WIDE) * self.block_s, 0)
        start_s = np.maximum(self.cta_s - narrower_s, 0)
        resident = np.where((resident == 1) & (dim <= NARROW), BESIDE, resident)
        slots, alone = chip.multiprocessors * resident, resident == 1
        waves = rows * parts / slots
        whole = np.floor(waves)
        left, after = waves - whole, whole > 0
        loads_s = resident * keys * 2 * padded(dim) * width / (self.load_bytes_per_clock * chip.clock)
        later = np.where(context <= SHORT, 0, each - 1)
        pace_s = later * np.where(alone, self.block_s, np.maximum(self.small_block_s, loads_s))
        read = context / (parts * keys)  # blocks that hold keys, of each CTA in the mean
        traffic_s = slots * read * keys * 2 * dim * width / bytes_per_s  # of a whole wave
        latency = self.launch_s + start_s * np.where(alone, np.ceil(waves), 1)
        partial = partial_bytes(batch, heads, dim, parts) / bytes_per_s
        latency = latency + np.where(parts > 1, self.merge_s + self.split_s * parts + partial, 0)
        again_s = np.where(alone, 0, start_s)
        first = [whole * pace_s + np.maximum(whole - 1, 0) * again_s, whole * traffic_s]
        last_s = np.maximum(left * traffic_s, np.where(after & (left > 0) & ~alone, each * loads_s, 0))
        return latency, first, [(left > 0) * (pace_s + after * again_s), last_s]


def padded(dim: Floats) -> Floats:
    """Channels of a tile: the power of two that is not below."""
    found: Floats = np.exp2(np.ceil(np.log2(dim)))
    return found


def tile(width: float, rows: Floats, tokens: Floats, kv_bytes: Floats) -> NDArray[Any]:
    """Index into TILES, as `kernels_ref.configs.pick`."""
    large = np.where(kv_bytes < 1e8, 2, 3) if width == 1 else np.where(kv_bytes < 6e8, 4, 5)
    return np.where(tokens <= SHORT, 0, np.where((tokens <= 512) & (rows >= 256), 1, large))


def chosen(rows: Floats, blocks: Floats, sms: int, resident: Floats) -> tuple[Floats, Floats]:
    """(CTAs of a row, key blocks of each), as `kernels_ref.splits.choose` for `rows` rows of `blocks` blocks."""
    shape = np.shape(rows)
    rows, blocks, resident = (np.ravel(value) for value in np.broadcast_arrays(rows, blocks, resident))
    slots, together = sms * resident, resident > 1
    best, best_each, best_parts = np.full(rows.size, np.inf), np.ones(rows.size), np.ones(rows.size)
    for wanted in range(1, int(min(MOST_SPLITS, blocks.max())) + 1):
        each = np.ceil(blocks / wanted)
        parts = np.ceil(blocks / each)
        loads = rows * parts / slots
        waves = np.ceil(loads)
        last = np.maximum(loads - (waves - 1), SATURATES)  # the last wave's share of its slots
        waves = np.where(together & (waves > 1), waves - 1 + last, waves)
        cost = waves * (each + START_BLOCKS)
        if wanted > 1:
            cost += np.where(parts > 1, MERGE_BLOCKS * parts + START_BLOCKS, 0)
        better = cost < best
        np.copyto(best, cost, where=better)
        np.copyto(best_each, each, where=better)
        np.copyto(best_parts, parts, where=better)
    return best_parts.reshape(shape), best_each.reshape(shape)
