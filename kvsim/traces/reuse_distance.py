"""How far apart the uses of a prefix block are: in seconds, and in tokens of other blocks used in between.

The tokens say what cache a use needs to be a hit: an LRU cache keeps a block until it has taken in more than that. They
are counted once for each block, however often it is used in between (stack distance: Mattson et al. 1970).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from kvsim.traces.burst import percentiles
from kvsim.traces.trace import Blocks, Floats, Ints, Trace

COMMON = 0.1  # a block in more than this share of the requests is left out: it is never far away
MOST_USES = 20_000_000


@dataclass(frozen=True)
class Reuse:
    """Of each use of a block but its first: seconds and tokens since the one before, and the tokens of the use."""

    interval_s: Floats
    distance_tokens: Floats
    use_tokens: Floats
    left_out: int  # blocks that are common


def reuse(trace: Trace) -> Reuse | None:
    """All re-uses of blocks that are not common; None without block ids, or with more than MOST_USES uses."""
    blocks = trace.blocks
    if not blocks or len(blocks.ids) > MOST_USES:
        return None
    uses = len(blocks.ids)
    owner = np.repeat(np.arange(len(trace)), np.diff(blocks.start))
    _, which, times = np.unique(blocks.ids, return_inverse=True, return_counts=True)
    order = np.argsort(which, kind="stable")
    again = which[order][1:] == which[order][:-1]
    before = np.full(uses, -1, np.int64)
    before[order[1:][again]] = order[:-1][again]
    tokens = _tokens(blocks)
    common = times > max(1.0, COMMON * len(trace))
    at = np.flatnonzero((before >= 0) & ~common[which])
    earlier = before[at]
    # different blocks used between: those whose use before theirs came no later than this block's
    told = weight_below(before + 1, tokens, at, earlier + 1) - np.cumsum(tokens)[earlier]
    interval_s = trace.arrival_s[owner[at]] - trace.arrival_s[owner[earlier]]
    return Reuse(interval_s, told, tokens[at], int(np.count_nonzero(common)))


def reuse_figures(trace: Trace) -> dict[str, Any] | None:
    """Percentiles over the re-uses of blocks; None where `reuse` is, or nothing is used twice."""
    found = reuse(trace)
    if found is None or not len(found.interval_s):
        return None
    return {
        "uses": len(found.interval_s),
        "common_blocks": found.left_out,
        "interval_s": percentiles(found.interval_s),
        "distance_tokens": percentiles(found.distance_tokens),
    }


def _tokens(blocks: Blocks) -> Floats:
    counts = np.ones(len(blocks.ids)) if blocks.counts is None else blocks.counts.astype(np.float64)
    return counts * blocks.tokens


def weight_below(values: Ints, weights: Floats, ends: Ints, limits: Ints) -> Floats:
    """For each query the sum of `weights[j]` over j < ends with values[j] <= limits; values and limits from 0.

    Goes through the values bit by bit, from the highest, sorting by that bit: a wavelet matrix (Claude, Navarro 2012).
    """
    low, high = np.zeros(len(ends), np.int64), ends.copy()
    total = np.zeros(len(ends))
    for bit in range(int(values.max(initial=0) | limits.max(initial=0)).bit_length() - 1, -1, -1):
        zero = (values >> bit) & 1 == 0
        rank = np.concatenate([[0], np.cumsum(zero)])
        weight = np.concatenate([[0.0], np.cumsum(weights * zero)])
        up = (limits >> bit) & 1 == 1
        total += np.where(up, weight[high] - weight[low], 0.0)
        zeros = rank[-1]
        low, high = (np.where(up, zeros + end - rank[end], rank[end]) for end in (low, high))
        values = np.concatenate([values[zero], values[~zero]])
        weights = np.concatenate([weights[zero], weights[~zero]])
    weight = np.concatenate([[0.0], np.cumsum(weights)])
    total += weight[high] - weight[low]
    return total
