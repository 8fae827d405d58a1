"""Seconds of the paged decode kernel for rows of unlike length: each gets the shares of keys that the longest needs.

The tile and the splits follow from the batch and the width of the table (`kvsim.cost.curves.paged`, as the kernel has
it); a row shorter than its table leaves CTAs without work, and the longest row's CTA sets how long the last wave lasts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from heapq import heapify, heappop, heapreplace
from math import ceil

import numpy as np

from kvsim.cost.curves import partial_bytes
from kvsim.cost.curves.paged import TILES, PagedDecodeCurve, chosen, tile
from kvsim.specs.hardware import Chip

# Seconds that a block of keys takes a CTA which nothing else holds up, and bytes a clock that an SM takes in, by bytes
# of an element: fitted to ragged_decode.csv of an H200 (with `drained`) and to attention_decode.csv of both chips.
LONE_S = {2: 1.7e-6, 1: 1.3e-6}
SM_BYTES_PER_CLOCK = {2: 19.0, 1: 15.0}
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
    sm_bytes_per_s = SM_BYTES_PER_CLOCK[int(element_bytes)] * chip.clock
    sm_s = block_bytes / sm_bytes_per_s
    lone_s = LONE_S[int(element_bytes)]
    crowd_s = max(lone_s, resident * sm_s)
    blocks = [-(-tokens // keys) for tokens in kept]
    each = min(each, max(blocks))
    ctas = kv_heads * sum(-(-count // each) for count in blocks)
    waves = kv_heads * sum(blocks) / (each * slots)  # as if all CTAs had the longest's blocks
    again_s = curve.cta_s - (lone_s if resident == 1 else 0.0)  # whose first block is among those counted below
    took_s = curve.launch_s + curve.cta_s + max(0.0, again_s) * (-(-ctas // slots) - 1)
    if parts > 1:
        partial_s: float = partial_bytes(padded, heads, dim, parts) / bytes_per_s
        took_s += curve.merge_s + curve.split_s * parts + partial_s
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
        shares = shares_of(blocks, kv_heads, parts, each)
        pace = Pace(lone_s, sm_s, block_bytes / bytes_per_s, chip.multiprocessors)
        work_s = max(work_s, drained(shares, slots, pace, max(0.0, curve.cta_s - lone_s)))
    return took_s + work_s


@dataclass(frozen=True)
class Pace:
    """Seconds of a block in every CTA: alone, of those that share an SM, of those that share HBM."""

    lone_s: float
    sm_s: float
    hbm_s: float
    sms: int

    def at(self, ctas: int) -> float:
        """Of so many CTAs at work."""
        crowd_s = self.sm_s * -(-ctas // self.sms) if ctas > self.sms else 0.0
        return max(self.lone_s, crowd_s, ctas * self.hbm_s)


def shares_of(blocks: Sequence[int], kv_heads: int, parts: int, each: int) -> list[int]:
    """Blocks of each CTA, in their order: rows of so many blocks, cut into `parts` of `each`."""
    shares = [count - part * each for count in blocks for _ in range(kv_heads) for part in range(parts)]
    return [min(each, share) for share in shares if share > 0]


def drained(shares: Sequence[int], slots: int, pace: Pace, start_s: float) -> float:
    """Seconds until CTAs that start on `slots` in turn are through; all at work go on at one pace, which quickens as
    fewer are left. `start_s`: of each CTA before its blocks."""
    start = start_s / pace.lone_s
    busy = [share + start for share in shares[:slots]]
    heapify(busy)
    took_s, done, waiting = 0.0, 0.0, len(busy)
    while busy:
        took_s += (busy[0] - done) * pace.at(len(busy))
        done = busy[0]
        if waiting < len(shares):
            heapreplace(busy, done + shares[waiting] + start)
            waiting += 1
        else:
            heappop(busy)
    return took_s
