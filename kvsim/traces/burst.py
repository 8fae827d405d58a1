"""How unevenly requests arrive, and what the sessions of a trace are like."""

from typing import Any

import numpy as np

from kvsim.traces.trace import Floats, Ints, Sessions, Trace

_POINTS = (10, 25, 50, 75, 90, 95, 99)


def burstiness(trace: Trace) -> dict[str, Any]:
    """Requests per second and per minute since the first one: the most, over the mean, and variance over mean.

    Variance over mean (the index of dispersion) is 1 for a Poisson process. None with fewer than two intervals.
    """
    return {f"per_{name}": _counts(trace.arrival_s, width_s) for name, width_s in (("second", 1.0), ("minute", 60.0))}


def _counts(arrival_s: Floats, width_s: float) -> dict[str, float | int | None]:
    interval = np.floor(arrival_s / width_s)
    intervals = int(interval[-1]) + 1
    first = np.flatnonzero(np.diff(interval, prepend=-1.0))  # arrivals rise; empty intervals are not in it
    counts = np.diff(np.append(first, len(interval))).astype(np.float64)
    mean = len(arrival_s) / intervals
    variance = float((counts**2).sum()) / intervals - mean**2
    several = intervals > 1
    return {
        "intervals": intervals,
        "most": int(counts.max()),
        "empty_share": 1 - len(counts) / intervals,
        "peak_to_mean": float(counts.max()) / mean if several else None,
        "dispersion": variance / mean if several else None,
    }


def session_figures(trace: Trace) -> dict[str, Any] | None:
    """Number, turns, gaps and concurrency of sessions; None without sessions.

    `open_at_once` counts sessions between their first and last arrival, which for a trace without stamps of later turns
    are made up: None then.
    """
    sessions = trace.sessions
    if not sessions:
        return None
    _, which, turns = np.unique(sessions.id, return_inverse=True, return_counts=True)
    begin_s, end_s = np.full(len(turns), np.inf), np.full(len(turns), -np.inf)
    np.minimum.at(begin_s, which, trace.arrival_s)
    np.maximum.at(end_s, which, trace.arrival_s)
    waiting = np.diff(sessions.start) > 0
    return {
        "sessions": len(turns),
        "turns": percentiles(turns),
        "gap_s": percentiles(sessions.gap_s[waiting]) if sessions.gap_s is not None and waiting.any() else None,
        "joins": int(np.count_nonzero(np.diff(sessions.start) > 1)),
        "fan_outs": _fan_outs(sessions),
        "duration_s": percentiles(end_s - begin_s) if sessions.timed else None,
        "open_at_once": _open_at_once(begin_s, end_s) if sessions.timed else None,
        "timed": sessions.timed,
    }


def _fan_outs(sessions: Sessions) -> int:
    """Requests that two or more others wait for."""
    return int(np.count_nonzero(np.bincount(sessions.parents) > 1)) if len(sessions.parents) else 0


def _open_at_once(begin_s: Floats, end_s: Floats) -> dict[str, float]:
    moments = np.concatenate([begin_s, end_s])
    change = np.concatenate([np.ones(len(begin_s)), -np.ones(len(end_s))])
    order = np.lexsort((-change, moments))  # who begins when another ends was there at once
    active = np.cumsum(change[order])
    span_s = float(moments.max() - moments.min())
    mean = float((end_s - begin_s).sum()) / span_s if span_s else float(active.max())
    return {"mean": mean, "most": float(active.max())}


def percentiles(values: Floats | Ints) -> dict[str, float]:
    """Mean, percentiles (linear between ranks) and maximum."""
    figures = {"mean": float(values.mean())}
    figures |= {f"p{q}": float(value) for q, value in zip(_POINTS, np.percentile(values, _POINTS), strict=True)}
    return figures | {"max": float(values.max())}
