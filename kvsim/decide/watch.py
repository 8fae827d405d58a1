"""Whether a run keeps its limits: as the run's report says, and during the run as soon as it surely will not."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kvsim.decide.slo import Slo
from kvsim.engine.replica import Replica, Span
from kvsim.engine.results import Columns

Floats = NDArray[np.float64]
_NEVER_S = 1e200  # of a rejected request; finite, so that ranks can be interpolated
_SPANS = 256  # between two looks


class Missed(Exception):
    """A limit is missed, whatever comes."""


class Watch:
    """An observer that ends a run by raising Missed once the requests so far break a limit for certain."""

    def __init__(self, slos: Sequence[Slo]) -> None:
        self._slos, self._spans = slos, 0

    def __call__(self, replica: Replica, span: Span) -> None:
        """Look now and then; a look costs as much as a pass over all requests."""
        self._spans += 1
        if self._spans % max(_SPANS, len(replica.columns.arrival_s) // 16) == 0:
            now_s = replica.clock.now
            if any((value := figure(replica.columns, slo, now_s)) is None or value > slo.limit_s for slo in self._slos):
                raise Missed


def figures(columns: Columns, slos: Sequence[Slo]) -> dict[str, float | None]:
    """The limited figures of a run that is over; None where too many requests were rejected to have one."""
    return {slo.key: figure(columns, slo, np.inf) for slo in slos}


def holds(found: dict[str, float | None], slos: Sequence[Slo]) -> bool:
    """Whether all figures keep their limits."""
    return all((value := found[slo.key]) is not None and value <= slo.limit_s for slo in slos)


def figure(columns: Columns, slo: Slo, now_s: float) -> float | None:
    """The limited figure, or while requests are under way what it will at least be; 0 if no request has one.

    A request that is not there yet counts 0 s, one under way the time that it has taken (0 s in the queue, until it has
    left it), a rejected one forever. Each only grows, and so does every mean and rank of them.
    """
    values = _at_least_s(columns, slo.latency, now_s)
    if not len(values):
        return 0.0
    value = float(values.mean() if slo.rank == "mean" else np.percentile(values, float(slo.rank[1:])))
    return value if value < _NEVER_S / 1e20 else None


def _at_least_s(columns: Columns, latency: str, now_s: float) -> Floats:
    start_s, end_s, count = columns.arrival_s, columns.done_s, np.ones(len(columns.arrival_s))
    kept = np.ones(len(count), np.bool_)
    if latency == "ttft":
        end_s = columns.first_token_s
    elif latency == "queue":
        end_s, now_s = columns.scheduled_s, np.nan  # a span's start, noted at its end: unknown while it lasts
    elif latency == "tpot":
        kept = columns.output_tokens > 1
        start_s, count = columns.first_token_s, np.maximum(columns.output_tokens - 1, 1)
    with np.errstate(invalid="ignore"):
        taken_s = (np.where(np.isnan(end_s), now_s, end_s) - start_s) / count
    taken_s = np.where(np.isnan(taken_s), 0.0, np.maximum(taken_s, 0.0))
    found: Floats = np.where(columns.rejected, _NEVER_S, taken_s)[kept]
    return found
