"""Traces without the requests that are longer than a model's context."""

from dataclasses import replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from kvsim.errors import UserError
from kvsim.traces.trace import Sessions, Trace, starts


def check_context(max_context: int | None) -> None:
    """A UserError unless some request can be as short as `max_context`."""
    if max_context is not None and max_context < 2:
        raise UserError(f"max context must be at least 2 tokens, but got {max_context}")


def within(trace: Trace, max_context: int) -> Trace:
    """The requests whose prompt and output have `max_context` tokens at most; says what that does to prefix hits.

    What followed a dropped request in its session follows those before it, after the same gap.

    Raises:
        UserError: none is left.
    """
    from kvsim.traces.stats import infinite_cache_hits

    kept = trace.prompt_tokens + trace.output_tokens <= max_context
    if kept.all():
        return trace
    if not kept.any():
        raise UserError(f"{trace.name}: all {len(trace):,} requests have more than {max_context:,} tokens of context")
    sessions = trace.sessions and _handed_on(trace.sessions, kept)
    left = replace(trace, sessions=sessions).take(np.flatnonzero(kept))
    why = f"over {max_context:,} tokens of prompt and output"
    dropped = {**trace.dropped, why: trace.dropped.get(why, 0) + int(np.count_nonzero(~kept))}
    before, after = infinite_cache_hits(trace), infinite_cache_hits(left)
    notes = trace.notes
    if before and after:
        hits = f"{before.token_ratio:.1%} of prompt tokens with all requests, {after.token_ratio:.1%} with those left"
        notes = (*notes, f"at most {max_context:,} tokens of context: infinite-cache hit {hits}")
    return replace(left, arrival_s=left.arrival_s - left.arrival_s[0], dropped=dropped, notes=notes)


def _handed_on(sessions: Sessions, kept: NDArray[np.bool_]) -> Sessions:
    """The sessions with parents that are not kept replaced by theirs."""
    rows = len(kept)
    child = np.repeat(np.arange(rows), np.diff(sessions.start))
    lost = ~kept[sessions.parents]
    if not lost.any():
        return sessions
    stands_for: dict[int, tuple[int, ...]] = {}
    for row in np.flatnonzero(~kept).tolist():
        parents = sessions.parents[sessions.start[row] : sessions.start[row + 1]].tolist()
        stands_for[row] = tuple({heir for one in parents for heir in stands_for.get(one, (one,))})
    heirs = [stands_for[parent] for parent in sessions.parents[lost].tolist()]
    new = np.fromiter(chain.from_iterable(heirs), np.int64)
    new_child = np.repeat(child[lost], list(map(len, heirs)))
    pairs = np.unique(np.concatenate([child[~lost], new_child]) * rows + np.concatenate([sessions.parents[~lost], new]))
    counts = np.bincount(pairs // rows, minlength=rows)
    return replace(sessions, parents=pairs % rows, start=starts(counts))
