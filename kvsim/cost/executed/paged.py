"""Seconds of the paged decode kernel for rows of unlike length: each gets the shares of keys that the longest needs.

The tile and the splits follow from the batch and the width of the table (`kvsim.cost.curves.paged`, as the kernel has
it); a row shorter than its table leaves CTAs without work, and the longest row's CTA sets how long the last wave lasts.
"""

from collections.abc import Sequence
from functools import lru_cache
from heapq import heapify, heapreplace
from math import ceil

import numpy as np

from kvsim.cost.curves.paged import TILES, PagedDecodeCurve, chosen, tile
from kvsim.specs.hardware import Chip

# Of the decode kernel in steps of Llama-3-8B on an H100 (kernels.csv). Calibration has no such batches: its shapes fill
# the chip. A block of keys takes a CTA that nothing else holds up so long (two batches of unlike rows):
LONE_S = {32: 1.6e-6, 64: 1.84e-6, 128: 1.4e-6}
# and an SM takes in no more than so many times its share of HBM's bandwidth (11 x 2,900 tokens, 24 x 6,100; FP8: that
# and 45 x 1,900), by bytes of an element:
SM_SHARE = {2: 1.4, 1: 1.23}
WIDTHS = tuple(sorted({-(-int(256 * 1.25**i) // 128) * 128 for i in range(38)}))  # tokens of a row that graphs have


def width_of(tokens: int) -> int:
    """Tokens of a table's row for a longest sequence of so many."""
    return next((width for width in WIDTHS if width >= tokens), -(-tokens // 128) * 128)


@lru_cache(maxsize=1 << 14)
def choice(rows: int, width: int, dim: int, element_bytes: float, sms: int) -> tuple[int, int, int, int]:
    """(keys of a block, CTAs on an SM, CTAs of a row, blocks of each) for `rows` rows of `width` tokens."""
    one, tokens = np.array([float(rows)]), np.array([float(width)])
    kind = tile(element_bytes, one, tokens, 2 * one * tokens * dim * element_bytes)
    keys, resident = (int(value) for value in TILES[int(kind[0])])
    parts, each = chosen(one, np.array([float(max(1, -(-width // keys)))]), sms, np.array([float(resident)]))
    return keys, resident, int(parts[0]), int(each[0])


def seconds(
    curve: PagedDecodeCurve,
    chip: Chip,
    kept: Sequence[int],
    padded: int,
    heads: int,
    kv_heads: int,
    dim: int,
    element_bytes: float,
    width: int,
) -> float:
    """Seconds of one layer (or of a unit of `kv_heads` heads): `kept` tokens of each row, `padded` rows in the grid."""
    keys, resident, parts, each = choice(padded * kv_heads, width, dim, element_bytes, chip.multiprocessors)
    slots, bytes_per_s = chip.multiprocessors * resident, curve.memory_share * chip.memory.bandwidth
    block_bytes = 2 * keys * dim * element_bytes
    traffic_s = slots * block_bytes / bytes_per_s  # of a block of every CTA of a whole wave
    sm_bytes_per_s = SM_SHARE[int(element_bytes)] * bytes_per_s / chip.multiprocessors
    lone_s = max(LONE_S[keys], block_bytes / sm_bytes_per_s)
    crowd_s = max(lone_s, resident * block_bytes / sm_bytes_per_s)
    blocks = [-(-tokens // keys) for tokens in kept]
    each = min(each, max(blocks))
    ctas = kv_heads * sum(-(-count // each) for count in blocks)
    waves = kv_heads * sum(blocks) / (each * slots)  # as if all CTAs had the longest's blocks
    again_s = curve.cta_s - (LONE_S[keys] if resident == 1 else 0.0)  # whose first block is among those counted below
    took_s = curve.launch_s + curve.cta_s + max(0.0, again_s) * (-(-ctas // slots) - 1)
    if parts > 1:
        partial = 8.0 * padded * heads * (dim + 1) * parts / bytes_per_s
        took_s += curve.merge_s + curve.split_s * parts + partial
    whole = int(waves)
    if whole:
        # CTAs of a wave end together, and whole SMs take the next: a partial wave crowds few SMs, less so later on.
        last_s = max(0.0, crowd_s - (waves - whole) * traffic_s) if waves > whole else 0.0
        moved = kv_heads * sum(kept) / (keys * slots)  # blocks of each CTA of a wave
        work_s = max(moved * traffic_s, each * waves * crowd_s) + each * last_s / whole
    else:
        crowd_s *= ceil(waves * resident) / resident  # CTAs spread over the SMs before they share one
        work_s = each * max(lone_s, crowd_s, waves * traffic_s)
    if min(blocks) < max(blocks):
        work_s = max(work_s, lone_s * makespan(blocks, kv_heads, parts, each, slots))
    return took_s + work_s


def makespan(blocks: Sequence[int], kv_heads: int, parts: int, each: int, slots: int) -> int:
    """Blocks that the busiest of `slots` works off: rows of so many blocks, cut into shares, taken in their order."""
    shares = [
        min(each, max(0, count - part * each)) for count in blocks for _ in range(kv_heads) for part in range(parts)
    ]
    busy = shares[:slots]
    heapify(busy)
    for share in shares[slots:]:
        heapreplace(busy, busy[0] + share)
    return max(busy)
