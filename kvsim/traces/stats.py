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


def infinite_cache_hits(trace: Trace) -> Hits | None:
    """The upper bound of what prefix caching can save on this trace; None if it has no block ids."""
    if not trace.blocks:
        return None
    hit_blocks = leading_seen(trace.blocks)
    hit_tokens = np.minimum(hit_blocks * trace.blocks.tokens, trace.prompt_tokens)
    blocks, tokens = int(hit_blocks.sum()), int(hit_tokens.sum())
    all_blocks, all_tokens = len(trace.blocks.ids), int(trace.prompt_tokens.sum())
    return Hits(blocks, tokens, blocks / all_blocks if all_blocks else 0.0, tokens / all_tokens)


def leading_seen(blocks: Blocks) -> Ints:
    """Per request: how many of its first block ids are ids of earlier requests, up to the first that is not."""
    _, first, which = np.unique(blocks.ids, return_index=True, return_inverse=True)
    owner_start = np.repeat(blocks.start[:-1], np.diff(blocks.start))
    new = np.append(np.flatnonzero(first[which] >= owner_start), len(blocks.ids))  # positions of ids not seen before
    first_new = new[np.searchsorted(new, blocks.start[:-1])]
    run: Ints = np.minimum(first_new, blocks.start[1:]) - blocks.start[:-1]
    return run


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
        "blocks": len(trace.blocks.ids) if trace.blocks else None,
        "unique_blocks": len(np.unique(trace.blocks.ids)) if trace.blocks else None,
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
