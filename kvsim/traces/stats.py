"""What a trace is like: rates, lengths, its clock, and how much of its prompts an infinite prefix cache would hold."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from kvsim.traces import clock
from kvsim.traces.burst import burstiness, session_figures
from kvsim.traces.reuse_distance import reuse_figures
from kvsim.traces.trace import Blocks, Ints, Trace

PERCENTILES = (1, 10, 25, 50, 75, 90, 95, 99)


@dataclass(frozen=True)
class Hits:
    """Infinite-cache hits: of each prompt, the longest leading run of block ids that an earlier request has had."""

    blocks: int
    tokens: int
    block_ratio: float
    token_ratio: float


def infinite_cache_hits(trace: Trace, blocks: Blocks | None = None) -> Hits | None:
    """The upper bound of what prefix caching can save on this trace; None if it has no block ids.

    Only prompts are cached, by the trace's own ids. Answers become part of the next turn's prompt, so a real cache may
    hit more: `blocks` are other ids of the same requests, of all that each leaves in the cache, its prompt's first.
    """
    blocks = blocks or trace.blocks
    if not blocks:
        return None
    hit_blocks = leading_seen(blocks)
    hit_tokens = np.minimum(hit_blocks * blocks.tokens, trace.prompt_tokens)
    hit, tokens = int(hit_blocks.sum()), int(hit_tokens.sum())
    all_blocks, all_tokens = many(blocks), int(trace.prompt_tokens.sum())
    return Hits(hit, tokens, hit / all_blocks if all_blocks else 0.0, tokens / all_tokens)


def many(blocks: Blocks) -> int:
    """Blocks of all requests."""
    return len(blocks.ids) if blocks.counts is None else int(blocks.counts.sum())


def unique(blocks: Blocks) -> int:
    """Different blocks; of a run, as many as the request has that ends latest in it."""
    ids, which = np.unique(blocks.ids, return_inverse=True)
    if blocks.counts is None:
        return len(ids)
    most = np.zeros(len(ids), np.int64)
    np.maximum.at(most, which, blocks.counts)
    return int(most.sum())


def leading_seen(blocks: Blocks) -> Ints:
    """Per request: how many of its first blocks earlier requests have had, up to the first that none has had."""
    counts = np.ones(len(blocks.ids), np.int64) if blocks.counts is None else blocks.counts
    owner = np.repeat(np.arange(len(blocks.start) - 1), np.diff(blocks.start))
    found = np.minimum(_seen(blocks.ids, counts, owner), counts)
    missing = np.append(np.flatnonzero(found < counts), len(counts))  # uses that are not found whole
    first = np.minimum(missing[np.searchsorted(missing, blocks.start[:-1])], blocks.start[1:])  # of each request
    before = np.append(0, np.cumsum(counts))
    in_part = np.where(first < blocks.start[1:], np.append(found, 0)[first], 0)
    run: Ints = before[first] - before[blocks.start[:-1]] + in_part
    return run


def _seen(ids: Ints, counts: Ints, owner: Ints) -> Ints:
    """Per use: the most blocks of the id that a request before the use's owner has had."""
    order = np.argsort(ids, kind="stable")
    group = np.append(0, np.cumsum(ids[order[1:]] != ids[order[:-1]])) if len(ids) else ids
    base = int(counts.max(initial=0)) + 1
    most = np.maximum.accumulate(group * base + counts[order]) - group * base  # of the id, up to and with this use
    place = np.arange(len(ids))
    same = np.zeros(len(ids), np.bool_)  # as the use before: its id, and its request
    same[1:] = (group[1:] == group[:-1]) & (owner[order][1:] == owner[order][:-1])
    first = np.maximum.accumulate(np.where(same, 0, place))
    previous = np.maximum(first - 1, 0)
    seen = np.empty(len(ids), np.int64)
    seen[order] = np.where((first > 0) & (group[previous] == group), most[previous], 0)
    return seen


def stats(trace: Trace) -> dict[str, Any]:
    """The figures of `kvsim trace stats --json`: plain numbers with the unit in the key, None where undefined."""
    gaps = np.diff(trace.arrival_s)
    duration_s = float(trace.arrival_s[-1])
    mean_gap_s = float(gaps.mean()) if gaps.size else 0.0
    hits = infinite_cache_hits(trace)
    return {
        "name": trace.name,
        "requests": len(trace),
        "duration_s": duration_s,
        "rate_per_s": len(trace) / duration_s if duration_s else None,
        "interarrival_cv": float(gaps.std()) / mean_gap_s if mean_gap_s else None,
        "tick_s": clock.tick_s(trace),
        "zero_gap_share": clock.zero_gap_share(trace),
        "prompt_tokens": lengths(trace.prompt_tokens),
        "output_tokens": lengths(trace.output_tokens),
        "block_tokens": trace.blocks.tokens if trace.blocks else None,
        "blocks": many(trace.blocks) if trace.blocks else None,
        "unique_blocks": unique(trace.blocks) if trace.blocks else None,
        "hit_ratio_blocks": hits.block_ratio if hits else None,
        "hit_ratio_tokens": hits.token_ratio if hits else None,
        **burstiness(trace),
        "sessions": session_figures(trace),
        "reuse": reuse_figures(trace),
        "dropped": dict(trace.dropped),
        "notes": list(trace.notes),
    }


def lengths(tokens: Ints) -> dict[str, float | int]:
    """Total, mean, extremes and percentiles (linear between ranks) of a column of lengths."""
    points = np.percentile(tokens, PERCENTILES)
    figures: dict[str, float | int] = {
        "total": int(tokens.sum()),
        "mean": float(tokens.mean()),
        "min": int(tokens.min()),
    }
    figures |= {f"p{q}": float(value) for q, value in zip(PERCENTILES, points, strict=True)}
    return figures | {"max": int(tokens.max())}
