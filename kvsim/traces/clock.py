"""A trace's clock: its tick, and how to spread the arrivals of a tick."""

from dataclasses import replace

import numpy as np

from kvsim.traces.trace import Floats, Trace

_FINEST_S = 1e-6
_COARSE_S = 0.1  # a tick that a report must name: it is long beside a decode step
_JITTER = 0.01
_ROWS = 1_000_000  # looked at together: of tens of millions, most clocks tell in the first


def zero_gap_share(trace: Trace) -> float:
    """Share of requests that arrive together with the one before them; 0 for one request."""
    gaps = np.diff(trace.arrival_s)
    return float(np.mean(gaps == 0)) if gaps.size else 0.0


def tick_s(trace: Trace) -> float | None:
    """Seconds between the ticks of the clock that stamped the arrivals; None if finer than 1 us or unknown.

    It is the median gap where many requests share a stamp and nearly all gaps are whole multiples of it within 1 %
    (Mooncake's 3 s, with a jitter of 3 ms), else the greatest common divisor of the gaps in microseconds.
    """
    positive = np.diff(trace.arrival_s)
    positive = positive[positive > 0]
    if not positive.size:
        return None
    if positive.size < 0.9 * (len(trace) - 1):
        median = float(np.median(positive))
        times = positive / max(median, _FINEST_S)
        if np.mean(np.abs(times - np.rint(times)) <= _JITTER * times) >= 0.99 and np.rint(times).min() >= 1:
            return round(median, 6)
    noise = 0.01 + 4 * np.spacing(trace.arrival_s[-1]) / _FINEST_S
    divisor = 0
    for at in range(0, positive.size, _ROWS):
        counts = positive[at : at + _ROWS] / _FINEST_S
        whole = np.rint(counts)
        if counts.max() > 2**53 or np.any(np.abs(counts - whole) > noise):
            return None
        divisor = int(np.gcd(divisor, np.gcd.reduce(whole.astype(np.int64))))
    return divisor / 1e6 if divisor else None


def note(trace: Trace) -> str | None:
    """What a reader of a report must know of a coarse clock; None for a fine one."""
    tick = tick_s(trace)
    if tick is None or tick < _COARSE_S:
        return None
    share = f"{zero_gap_share(trace):.1%} of requests arrive with the one before them"
    return f"the clock ticks every {tick:g} s ({share}): replayed as is; `--dither uniform` spreads each tick"


def spread(trace: Trace, seed: int = 0) -> Trace:
    """The trace with each stamp's arrivals drawn uniformly over its tick (up to the next stamp), in the same order."""
    tick = tick_s(trace)
    if tick is None:
        return replace(trace, notes=(*trace.notes, "the clock has no tick: arrivals are not spread"))
    stamps, which = np.unique(trace.arrival_s, return_inverse=True)
    width: Floats = np.minimum(np.append(np.diff(stamps), tick), tick)
    share = np.random.default_rng(seed).random(len(trace))
    share = share[np.lexsort((share, which))]  # `which` rises already: this sorts inside each stamp
    arrival = np.maximum.accumulate(stamps[which] + share * width[which])
    line = f"the arrivals of each {tick:g} s tick are spread uniformly over it (seed {seed})"
    return replace(trace, arrival_s=arrival - arrival[0], notes=(*trace.notes, line))
