"""Shared prefixes of a trace as groups by Zipf's law: what the generator `prefixes` takes."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from kvsim.traces.blocks import one_by_one
from kvsim.traces.sample import families
from kvsim.traces.stats import leading_seen
from kvsim.traces.trace import Floats, Ints, Trace

_EXPONENTS = np.arange(0.0, 2.01, 0.1)
_MOST_GROUPS = 200_000


@dataclass(frozen=True)
class Shared:
    """What a trace shares: the keys of `prefixes` that are numbers, and lengths in tokens.

    `prefix` and `own` are of the requests that share more than what is common, `alone` of the others, without it.
    """

    keys: dict[str, Any]
    prefix: Ints
    own: Ints
    alone: Ints


def shared(trace: Trace) -> Shared | None:
    """Prefix families of two requests and more as groups; None where nothing is shared.

    What the first request of a family hits in an infinite cache, in the median, is common to all; what a later one hits
    beyond that is its group's prefix, and in the mean that of the family's first.
    """
    if not trace.blocks:
        return None
    blocks = one_by_one(trace.blocks)
    hit = np.minimum(leading_seen(blocks) * blocks.tokens, trace.prompt_tokens - 1)
    family = families(trace)
    _, first = np.unique(family, return_index=True)
    later = np.ones(len(trace), bool)
    later[first] = False
    others = first[first > 0]
    common = int(np.median(hit[others])) if len(others) else 0
    common = max(0, min(common, int(trace.prompt_tokens.min()) - 2))
    size = np.bincount(family)
    grouped = size[family] > 1
    if not grouped.any():
        return None
    beyond = np.maximum(hit - common, 0)
    mean = np.rint(np.bincount(family[later], beyond[later], minlength=len(size)) / np.maximum(size - 1, 1))
    prefix = np.where(later, beyond, mean[family]).astype(np.int64)
    half = blocks.tokens // 2  # what rounding down to whole blocks will take away
    prefix = np.clip(prefix + half, 1, np.maximum(trace.prompt_tokens - common - 1, 1))
    rest = np.maximum(trace.prompt_tokens - common, 1)
    groups, zipf = _groups(size[size > 1])
    keys = {"groups": groups, "zipf": zipf, "share": float(f"{grouped.mean():.6g}")}
    keys |= {"common_tokens": common, "block_tokens": blocks.tokens}
    return Shared(keys, prefix[grouped], np.maximum(rest - prefix, 1)[grouped], rest[~grouped])


def _groups(size: Ints) -> tuple[int, float]:
    """(groups, exponent) under which as many different groups are expected as seen, and as many pairs in one group."""
    requests, different = int(size.sum()), len(size)
    pairs = float((size * (size - 1.0)).sum())
    best: tuple[float, int, float] | None = None
    for exponent in _EXPONENTS.tolist():
        low, high = different, _MOST_GROUPS
        while low < high:
            middle = (low + high) // 2
            if _expected(middle, exponent, requests)[0] < different:
                low = middle + 1
            else:
                high = middle
        seen, paired = _expected(low, exponent, requests)
        off = abs(math.log(paired / pairs)) + abs(math.log(seen / different))
        if best is None or off < best[0]:
            best = off, low, exponent
    assert best
    return best[1], round(best[2], 2)


def _expected(groups: int, exponent: float, requests: int) -> tuple[float, float]:
    """Groups that some request, and ordered pairs of requests that are of one group, are expected."""
    weight = np.arange(1, groups + 1) ** -exponent
    share: Floats = weight / weight.sum()
    none = np.exp(requests * np.log1p(-np.minimum(share, 1 - 1e-12)))
    return float((1 - none).sum()), float(requests * (requests - 1.0) * (share**2).sum())
