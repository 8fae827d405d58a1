"""Seconds of FlashAttention-2 over prompts' chunks: CTAs of 128 queries, two to an SM, handed out in turn.

Which SM runs which tile decides: 384 equal tiles on 132 SMs take two rounds, as 528 would.
"""

from collections.abc import Sequence
from functools import lru_cache
from heapq import heapify, heapreplace

ROWS, KEYS = 128, 64  # queries of a tile, keys of a block (head_dim 128)
# Fitted to the 173 rows of `FlashAttention-2 varlen` with head_dim 128 and up to 6,000 tiles in attention_prefill.csv
# of an H100: |fitted / measured - 1| 2.6 % in the median, p90 6.3 %; the H200's rows 2.7 and 7.6 %. No step was used.
LAUNCH_S = 2.12e-6
UNMASKED_S = 2.78e-6  # before the first block that is not on the diagonal
ALONE_S, PAIR_S = 1.754e-6, 2.902e-6  # of a block in a CTA alone on its SM, and in each of two
STREAM_S = 1.8e-9  # of a block, for each kv head of a chunk that is read at the same time, where all tiles run at once
MASKED = 1.40  # of a block's time, that a block on the diagonal takes longer
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
    chunks: tuple[tuple[int, int], ...],
    heads: int,
    kv_heads: int,
    sms: int,
    window: int | None = None,
    causal: bool = True,
) -> float:
    """Seconds of one launch over all chunks: (new, past) tokens each; not `causal`: every query sees `past` keys."""
    own = blocks(chunks, window, causal)
    many = len(own) * heads
    start_s = LAUNCH_S + (UNMASKED_S if any(past or new > 2 * ROWS for new, past in chunks) else 0.0)
    if many <= 2 * sms:
        block_s = ALONE_S if many <= sms else PAIR_S
        return start_s + max(own) * (block_s + STREAM_S * kv_heads * len(chunks))
    slots = [own[at % len(own)] for at in range(2 * sms)]
    heapify(slots)
    for at in range(2 * sms, many):
        heapreplace(slots, slots[0] + own[at % len(own)])
    return start_s + PAIR_S * max(slots)


def one_round(chunks: Sequence[tuple[int, int]], heads: int, sms: int) -> bool:
    """Whether all tiles run at once."""
    return heads * sum(-(-new // ROWS) for new, _ in chunks) <= 2 * sms
