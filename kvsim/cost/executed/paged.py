"""Seconds of the paged decode kernel for rows of any lengths: each gets the shares of keys that the longest needs.

The tile and the splits follow from the batch and the width of the table (`kvsim.cost.curves.paged`, as the kernel has
it); a row shorter than its table leaves CTAs without work, and the longest row's CTA sets how long the last wave lasts.
How many CTAs an SM really holds is the compiler's doing, and not always what the splits were chosen for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from heapq import heapify, heappop, heapreplace

import numpy as np

from kvsim.cost.curves import partial_bytes
from kvsim.cost.curves.paged import TILES, PagedDecodeCurve, chosen, tile
from kvsim.specs.hardware import Chip

# Fitted to attention_decode.csv (head_dim 128) of an H100 and an H200 and to ragged_decode.csv of the latter.
# Seconds that a block of keys takes a CTA which nothing else holds up, by bytes of an element; and each of several CTAs
# on a full SM, by bytes and keys. No 16-bit rows of up to 64 tokens, whose blocks have 32 keys, were measured: assumed.
LONE_S = {2: 1.7e-6, 1: 1.3e-6}
FULL_S = {(2, 64): 2.4e-6, (2, 32): 1.2e-6, (1, 64): 2.1e-6, (1, 32): 1.1e-6}
EXPOSED = {2: 0.06, 1: 0.1}  # share of the shorter of CTAs' own pace and HBM traffic that the longer does not hide
# Share of the time that HBM keeps CTAs alone on their SMs waiting in which others start, from the second wave on.
BETWEEN = 0.1
TOGETHER = 0.9  # CTAs of at least this share of the longest's blocks end with it
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


def held(keys: int, resident: int, element_bytes: float, partial_heads: bool) -> int:
    """CTAs on an SM, as compiled for compute capability 9.0: 65,536 registers and 228 KiB of shared memory have room.

    A thread of the 16-bit kernel takes 111 to 113 registers, and 94 where it leaves partial results of several kv heads
    (`partial_heads`). CTAs of 32 keys at 8 bits take 36 KiB, at 16 bits at least 142 registers in each of 64 threads.
    """
    if element_bytes == 2 and keys == 64 and partial_heads:
        return 5
    return 6 if keys == 32 else resident


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
    merged: bool = False,
) -> float:
    """Seconds of one layer (or of a unit of `kv_heads` heads): `kept` tokens of each row, `padded` rows in the grid.

    `merged`: the second kernel runs even if no row is split.
    """
    keys, resident, parts, each = choice(padded * kv_heads, width, dim, element_bytes, chip.multiprocessors)
    resident = held(keys, resident, element_bytes, (parts > 1 or merged) and kv_heads > 1)
    bytes_per_s = curve.memory_share * chip.memory.bandwidth
    took_s = curve.launch_s
    if parts > 1 or merged:
        partial_s: float = partial_bytes(padded, heads, dim, parts) / bytes_per_s
        took_s += curve.merge_s + curve.split_s * parts + partial_s
    blocks = [-(-tokens // keys) for tokens in kept]
    each = min(each, max(blocks))
    shares = shares_of(blocks, kv_heads, parts, each)
    lone_s = LONE_S[int(element_bytes)]
    hbm_s = 2 * keys * dim * element_bytes / bytes_per_s * sum(kept) / (keys * sum(blocks))  # rows' ends read less
    slots = chip.multiprocessors * resident
    if resident == 1:
        pace = Pace(lone_s, hbm_s, curve.exposed)
        if min(shares) == each:
            return took_s + in_waves(len(shares), each, slots, pace, curve.cta_s)
        return took_s + drained(shares, slots, pace, curve.cta_s - lone_s)
    # CTAs that end together leave whole SMs to the next, even if those are few; what ends apart is replaced one by one.
    together = sum(share >= TOGETHER * each for share in shares) / len(shares)
    full_s = FULL_S[int(element_bytes), keys]
    lone_s = min(lone_s, full_s)
    pace = Pace(lone_s + together * (full_s - lone_s), hbm_s, EXPOSED[int(element_bytes)])
    return took_s + curve.cta_s + drained(shares, slots, pace, 0.0)  # later CTAs start while others read


@dataclass(frozen=True)
class Pace:
    """Seconds of a block in every CTA: by its own latency, and of those that share HBM.

    `exposed`: share of the shorter that the longer does not hide.
    """

    own_s: float
    hbm_s: float
    exposed: float

    def at(self, ctas: int, hidden: float = 0.0) -> float:
        """Of so many CTAs at work; `hidden`: share of their own latency that is counted elsewhere."""
        own_s, hbm_s = (1 - hidden) * self.own_s, ctas * self.hbm_s
        return max(own_s, hbm_s) + self.exposed * min(own_s, hbm_s)


def in_waves(ctas: int, blocks: int, slots: int, pace: Pace, start_s: float) -> float:
    """Seconds of CTAs of so many blocks that have an SM each: the first block's latency is part of the start."""
    whole, left = divmod(ctas, slots)
    took_s = 0.0
    for wave, many in enumerate([slots] * whole + [left] * (left > 0)):
        waits_s = blocks * max(0.0, many * pace.hbm_s - (1 - 1 / blocks) * pace.own_s)
        hidden_s = BETWEEN * waits_s if wave else 0.0
        took_s += blocks * pace.at(many, 1 / blocks) + max(0.0, start_s - hidden_s)
    return took_s


def shares_of(blocks: Sequence[int], kv_heads: int, parts: int, each: int) -> list[int]:
    """Blocks of each CTA, in their order: rows of so many blocks, cut into `parts` of `each`."""
    shares = [count - part * each for count in blocks for _ in range(kv_heads) for part in range(parts)]
    return [min(each, share) for share in shares if share > 0]


def drained(shares: Sequence[int], slots: int, pace: Pace, start_s: float) -> float:
    """Seconds until CTAs that start on `slots` in turn are through; all at work go on at one pace, which quickens as
    fewer are left. `start_s`: of each CTA before its blocks."""
    start = start_s / pace.own_s
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
