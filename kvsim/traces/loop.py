"""How the requests of a trace are sent: open loop at their stamps, or closed loop as sessions, and how fast."""

from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from kvsim.errors import UserError, unknown
from kvsim.traces.trace import Sessions, Trace

Loop = Literal["closed", "open"]


def is_closed(trace: Trace, loop: str | None, concurrency: int | None) -> bool:
    """Whether a run waits for answers: as `loop` says, else if it can.

    Raises:
        UserError: a loop that does not exist, or that the trace does not allow.
    """
    if loop not in (None, *get_args(Loop)):
        raise unknown("loop", str(loop), get_args(Loop))
    if concurrency is not None and concurrency < 1:
        raise UserError(f"concurrency must be at least 1, but got {concurrency}")
    sessions = trace.sessions
    if loop == "open":
        if concurrency:
            raise UserError("concurrency is for a closed loop: in an open one requests come at their stamps")
        if sessions and not sessions.timed:
            raise UserError(f"{trace.name}: has no stamps of later turns: only a closed loop can replay it")
        return False
    if concurrency and sessions is None:
        return True  # that many users, each with one request after the other
    knows_gaps = sessions is not None and sessions.gap_s is not None
    if (loop == "closed" or concurrency) and not knows_gaps:
        lacks = "no sessions" if sessions is None else "sessions without think times"
        raise UserError(f"{trace.name}: has {lacks}: only an open loop can replay it")
    return knows_gaps


def alone(requests: int) -> Sessions:
    """Sessions of one request each."""
    none = np.empty(0, np.int64)
    return Sessions(np.arange(requests), none, np.zeros(requests + 1, np.int64), np.zeros(requests))


def paced(trace: Trace, max_gap_s: float | None, sessions_per_s: float | None, seed: int) -> Trace:
    """The trace with gaps of at most `max_gap_s`, and sessions that begin as a Poisson process of that rate.

    Raises:
        UserError: a figure out of range, or a trace without sessions or gaps.
    """
    if max_gap_s is not None and not 0 <= max_gap_s < float("inf"):
        raise UserError(f"max_gap must be at least 0 and finite, but got {max_gap_s}")
    if sessions_per_s is not None and not 0 < sessions_per_s < float("inf"):
        raise UserError(f"session rate must be more than 0 per second and finite, but got {sessions_per_s}")
    if max_gap_s is not None:
        trace = _with_short_gaps(trace, max_gap_s)
    return trace if sessions_per_s is None else _begun_at(trace, sessions_per_s, seed)


def _with_short_gaps(trace: Trace, most_s: float) -> Trace:
    sessions = trace.sessions
    if sessions is None or sessions.gap_s is None:
        raise UserError(f"{trace.name}: has no sessions with think times, which max_gap could shorten")
    long = sessions.gap_s > most_s
    note = f"think and tool times are cut to {most_s:g} s: {int(long.sum()):,} were longer"
    shorter = replace(sessions, gap_s=np.minimum(sessions.gap_s, most_s))
    return replace(trace, sessions=shorter, notes=(*trace.notes, note))


def _begun_at(trace: Trace, rate_per_s: float, seed: int) -> Trace:
    sessions = trace.sessions
    if sessions is None:
        raise UserError(f"{trace.name}: has no sessions, which a session rate could space out")
    _, first, which = np.unique(sessions.id, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))  # of each session, by its first request
    begin_s = np.cumsum(np.random.default_rng(seed).exponential(1 / rate_per_s, len(first)))
    arrival_s = trace.arrival_s - trace.arrival_s[first][which] + begin_s[rank][which]
    order = np.argsort(arrival_s, kind="stable")
    note = f"sessions begin as a Poisson process of {rate_per_s:g} per second (seed {seed})"
    moved = replace(trace, arrival_s=arrival_s - arrival_s.min(), notes=(*trace.notes, note))
    return moved.take(order)


def reuse_notes(trace: Trace, extended: Trace) -> list[str]:
    """How much prefix reuse hangs on outputs that the next turn repeats: `extended` has them, `trace` has not."""
    if extended is trace:
        return []
    from kvsim.traces.stats import infinite_cache_hits

    least, most = infinite_cache_hits(trace), infinite_cache_hits(extended)
    if not least or not most:
        return []
    return [
        f"outputs are cached for the next turn: an infinite cache hits {most.token_ratio:.1%} of prompt "
        f"tokens, {least.token_ratio:.1%} if only prompts were reused (--reuse prompts)"
    ]


def note(trace: Trace, closed: bool, concurrency: int | None) -> str | None:
    """What a reader of a report must know of the loop; None for a trace without sessions in an open loop."""
    sessions = trace.sessions
    if not closed:
        late = "open loop: turns of sessions are sent at their stamps, however late the answers are"
        return late if sessions else None
    many = len(np.unique(sessions.id)) if sessions else len(trace)
    line = f"closed loop: {many:,} {'session' if sessions else 'request'}{'s' * (many > 1)}"
    if concurrency:
        line += f", {concurrency:,} at a time"
    if sessions is None or sessions.gap_s is None or not len(sessions.parents):
        return line
    waits = np.diff(sessions.start) > 0
    return f"{line}; a turn is sent a gap (median {np.median(sessions.gap_s[waits]):.3g} s) after what it waits for"
