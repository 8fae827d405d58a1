"""Seconds of FlashAttention-2 over prompts' chunks: CTAs of 128 queries, two to an SM, handed out in turn.

Which SM runs which tile decides: 384 equal tiles on 132 SMs take two rounds, as 528 would.
"""

from collections.abc import Sequence
from functools import lru_cache
from heapq import heapify, heapreplace

ROWS, KEYS = 128, 64  # queries of a tile, keys of a block (head_dim 128)
# Fitted to the 173 rows of `FlashAttention-2 varlen` with head_dim 128 and up to 6,000 tiles in attention_prefill.csv
# of an H100: |fitted / measured - 1| 3.2 % in the median, p90 9.0 %. No step was used.
LAUNCH_S = 2.0e-6
ALONE_S, PAIR_S = 1.840e-6, 2.924e-6  # of a block in a CTA alone on its SM, and in each of two
MASKED = 1.54  # of a block's time, that a block on the diagonal takes longer
BEHIND_S = 14e-6  # behind other kernels, of a launch of one round: 200 and 430 tokens in kernels.csv


def blocks(chunks: Sequence[tuple[int, int]], window: int | None = None, causal: bool = True) -> list[float]:
    """Blocks of keys of each tile of one head, diagonal ones weighted, in the order in which CTAs start."""
    found = []
    tiles = -(-max(new for new, _ in chunks) // ROWS)
    for new, past in chunks:
        for tile in range(min(tiles, -(-new // ROWS))):
            first, last = past + tile * ROWS, past + min(new, (tile + 1) * ROWS)
            if not causal:
                found.append(float(-(-past // KEYS)))
                continue
            begin = 0 if window is None else max(0, first - window) // KEYS
            diagonal = -(-(last - first) // KEYS) * (1 if window is None or first < window else 2)
            found.append(-(-last // KEYS) - begin + MASKED * diagonal)
    return found


@lru_cache(maxsize=1 << 14)
def seconds(
    chunks: tuple[tuple[int, int], ...], heads: int, sms: int, window: int | None = None, causal: bool = True
) -> float:
    """Seconds of one launch over all chunks: (new, past) tokens each; not `causal`: every query sees `past` keys."""
    own = blocks(chunks, window, causal)
    many = len(own) * heads
    if many <= 2 * sms:
        return LAUNCH_S + max(own) * (ALONE_S if many <= sms else PAIR_S)
    slots = [own[at % len(own)] for at in range(2 * sms)]
    heapify(slots)
    for at in range(2 * sms, many):
        heapreplace(slots, slots[0] + own[at % len(own)])
    return LAUNCH_S + PAIR_S * max(slots)


def one_round(chunks: Sequence[tuple[int, int]], heads: int, sms: int) -> bool:
    """Whether all tiles run at once."""
    return heads * sum(-(-new // ROWS) for new, _ in chunks) <= 2 * sms
