"""Seconds of the paged decode kernel for rows of unlike length: each gets the shares of keys that the longest needs.

The tile and the splits follow from the batch and the width of the table (`kvsim.cost.curves.paged`, as the kernel has
it); a row shorter than its table leaves CTAs without work, and the longest row's CTA sets how long the last wave lasts.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from kvsim.cost.curves.paged import TILES, PagedDecodeCurve, chosen, tile
from kvsim.specs.hardware import Chip

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
    block_s = curve.block_s if resident == 1 else curve.small_block_s
    traffic_s = slots * keys * 2 * dim * element_bytes / bytes_per_s  # of a block of every CTA of a whole wave
    blocks = [-(-tokens // keys) for tokens in kept]
    ctas = kv_heads * sum(-(-count // each) for count in blocks)
    waves = kv_heads * sum(kept) / keys / (each * slots)  # as if all CTAs had the longest's blocks
    whole = float(int(waves))
    longest = min(each, max(blocks))
    took_s = curve.launch_s + curve.cta_s * -(-ctas // slots)
    if parts > 1:
        partial = 8.0 * padded * heads * (dim + 1) * parts / bytes_per_s
        took_s += curve.merge_s + curve.split_s * parts + partial
    if whole:
        took_s += _overlapped(whole * each * block_s, whole * each * traffic_s, curve.exposed)
    if waves > whole:
        took_s += _overlapped(longest * block_s, (waves - whole) * each * traffic_s, curve.exposed)
    return took_s


def _overlapped(one_s: float, other_s: float, exposed: float) -> float:
    return max(one_s, other_s) + exposed * min(one_s, other_s)
