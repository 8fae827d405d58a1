"""Several traces as one, by arrival; what is equal in two of them stays apart."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kvsim.errors import UserError
from kvsim.traces.blocks import numbered, split
from kvsim.traces.notes import noted
from kvsim.traces.trace import Blocks, Measured, Sessions, Trace, starts


def merge(traces: Sequence[Trace], name: str) -> Trace:
    """All requests of traces that begin at the same moment. Block ids and sessions of two traces are never the same.

    Blocks become as small as the smallest that divides all. Requests without ids, beside others that have them, share
    nothing; requests without sessions are a session each; latencies that nobody measured are unknown.

    Raises:
        UserError: fewer than two traces, blocks without a common size, sessions that can only be replayed in an open
            loop beside sessions that can only be replayed in a closed one.
    """
    if len(traces) < 2:
        raise UserError(f"{name}: merging needs at least 2 traces, but got {len(traces)}")
    found: dict[str, Any] = {}
    if any(trace.blocks for trace in traces):
        found["blocks"] = _blocks(traces, name)
    if any(trace.sessions for trace in traces):
        found["sessions"] = _sessions(traces, name)
    if any(trace.measured for trace in traces):
        found["measured"] = _measured(traces)
    dropped: Counter[str] = Counter()
    for trace in traces:
        dropped.update(trace.dropped)
    arrival_s, prompt_tokens, output_tokens = (
        np.concatenate([getattr(trace, column) for trace in traces])
        for column in ("arrival_s", "prompt_tokens", "output_tokens")
    )
    merged = Trace(name, arrival_s, prompt_tokens, output_tokens, dropped=dict(dropped), **found)
    merged = merged.take(np.argsort(merged.arrival_s, kind="stable"))
    told = ", ".join(f"{trace.name} ({len(trace):,} requests)" for trace in traces)
    bare = [trace.name for trace in traces if "blocks" in found and not trace.blocks]
    lines = [f"merged: {told}", *(f"{other} has no block ids: its requests share nothing" for other in bare)]
    return noted(merged, traces, *lines)


def _blocks(traces: Sequence[Trace], name: str) -> Blocks:
    sizes = sorted({trace.blocks.tokens for trace in traces if trace.blocks})
    if any(size % sizes[0] for size in sizes):
        raise UserError(
            f"{name}: blocks of {' and '.join(map(str, sizes))} tokens have no common size: one must divide all"
        )
    parts: list[Blocks] = []
    free = 0
    for trace in traces:
        blocks = _alone(trace, sizes[0]) if trace.blocks is None else split(trace.blocks, trace.prompt_tokens, sizes[0])
        ids, free = numbered(blocks.ids, free)
        parts.append(replace(blocks, ids=ids))
    counts = None
    if any(part.counts is not None for part in parts):
        counts = np.concatenate([np.ones_like(part.ids) if part.counts is None else part.counts for part in parts])
    ids = np.concatenate([part.ids for part in parts])
    return Blocks(ids, starts(np.concatenate([np.diff(part.start) for part in parts])), sizes[0], counts)


def _alone(trace: Trace, tokens: int) -> Blocks:
    """One run of blocks for each request."""
    count = len(trace)
    return Blocks(np.arange(count), np.arange(count + 1), tokens, -(-trace.prompt_tokens // tokens))


def _sessions(traces: Sequence[Trace], name: str) -> Sessions:
    parts: list[Sessions] = []
    free = rows = 0
    for trace in traces:
        sessions = trace.sessions or _single(len(trace))
        ids, free = numbered(sessions.id, free)
        parts.append(replace(sessions, id=ids, parents=sessions.parents + rows))
        rows += len(trace)
    gaps = [part.gap_s for part in parts]
    timed = all(part.timed for part in parts)
    known = [gap_s for gap_s in gaps if gap_s is not None]
    if len(known) < len(gaps) and not timed:
        raise UserError(
            f"{name}: one trace does not tell the gaps of its sessions, another does not tell their arrivals"
        )
    return Sessions(
        np.concatenate([part.id for part in parts]),
        np.concatenate([part.parents for part in parts]),
        starts(np.concatenate([np.diff(part.start) for part in parts])),
        np.concatenate(known) if len(known) == len(gaps) else None,
        timed,
    )


def _single(count: int) -> Sessions:
    return Sessions(np.arange(count), np.empty(0, np.int64), np.zeros(count + 1, np.int64), np.zeros(count))


def _measured(traces: Sequence[Trace]) -> Measured:
    columns = [
        np.concatenate(
            [
                np.full(len(trace), np.nan) if trace.measured is None else getattr(trace.measured, key)
                for trace in traces
            ]
        )
        for key in ("ttft_s", "e2e_s")
    ]
    return Measured(*columns)
