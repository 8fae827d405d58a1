"""Goodput: the highest rate at which one machine keeps all limits, found and confirmed by replays.

Rates lie on a grid of STEPS a doubling, 1.1 % apart. The answer is a point of it that held, whose next point did not:
both replays are shown. Feasibility need not be monotone (scheduling anomalies), so points a little below and above are
looked at too; where a lower one fails the search goes on below it, and higher rates that held are told. How far figures
are from their limits says where to look next; what is found does not depend on it where feasibility is monotone.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kvsim.decide.case import Case, begins_s, lasted_s, rate_per_s, replay
from kvsim.decide.slo import Slo
from kvsim.decide.watch import figures, holds
from kvsim.engine.simulate import Simulation

STEPS = 64
_FARTHEST = 640  # up to 1,024 times the trace's own rate, or a part in 1,024
_STRIDES = (8, 192)  # the shortest and the longest step in search of a bracket
_NEAR = 6  # within so many points of the answer one on each side is replayed
_FAR = 20.0  # logarithm of a figure over its limit that stands for never, or for 0 s


@dataclass(frozen=True)
class Point:
    """A replay of one machine at a rate: the limited figures that it gave, in seconds, None for never."""

    rate_per_s: float
    figures: dict[str, float | None]


@dataclass(frozen=True)
class Goodput:
    """`under` held, `over` did not.

    Without `under` no rate held, the lowest tried being `over`'s; without `over` the trace is too short to tell: at
    `under` requests begin for less than half of the time that it takes to serve them. `also_held` are rates above
    `over` that held all the same.
    """

    under: Point | None
    over: Point | None
    also_held: tuple[float, ...] = ()
    replays: int = 0

    @property
    def rate_per_s(self) -> float:
        """The goodput; 0 if no rate held."""
        return self.under.rate_per_s if self.under else 0.0


def goodput(case: Case, slos: Sequence[Slo], own: Simulation) -> Goodput:
    """Search from the trace's own rate, whose replay is `own`."""
    search = _Search(case, slos)
    search.keep(0, own)
    low, high = _bracket(search, 0)
    if low is None or high is None:
        return search.found(low, high)
    low = search.edge(low, high)
    while search.fails_below(low):  # it held by an anomaly: what counts lies below
        low, high = _bracket(search, low - _NEAR // 2)
        if low is None or high is None:
            return search.found(low, high)
        low = search.edge(low, high)
    search.look_above(low + 1)
    return search.found(low, low + 1)


def _bracket(search: "_Search", start: int) -> tuple[int | None, int | None]:
    """(a point that holds, one above it that does not), near `start`; None for one that there is not."""
    last, up = start, search.holds(start)
    step = search.excess(start) * STEPS / math.log(2)  # to the limit, if the figure grows as the rate does
    while abs(last) < _FARTHEST and not (up and search.too_short(last)):
        step = min(max(abs(step), _STRIDES[0]), _STRIDES[1])
        at = max(-_FARTHEST, min(_FARTHEST, last + round(step if up else -step)))
        if search.holds(at) != up:
            return (last, at) if up else (at, last)
        slope = (search.excess(at) - search.excess(last)) / (at - last)
        step = 1.2 * search.excess(at) / slope if slope > 0 else 2 * step
        last = at
    return (last, None) if up else (None, last)


def edge(hold: Callable[[int], bool], low: int, high: int) -> int:
    """A whole number from `low`, which holds, to below `high`, which does not: it holds and the next one does not."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if hold(middle) else (low, middle)
    return low


class _Search:
    """Replays at grid points, each once."""

    def __init__(self, case: Case, slos: Sequence[Slo]) -> None:
        self._case, self._slos = case, slos
        self._own_per_s, self._begins_s = rate_per_s(case.trace), begins_s(case.trace)
        self._points: dict[int, Point] = {}
        self._too_short: set[int] = set()

    def holds(self, at: int) -> bool:
        """Whether all limits are kept at this grid point."""
        if at not in self._points:
            ran = replay(self._case, 2.0 ** (at / STEPS), 1)
            if ran is None:
                raise RuntimeError(f"{self._case.system} ran at its own rate, but not at another")
            self.keep(at, ran)
        return holds(self._points[at].figures, self._slos)

    def keep(self, at: int, ran: Simulation) -> None:
        """Remember what a replay at this point gave."""
        self._points[at] = Point(self._own_per_s * 2.0 ** (at / STEPS), figures(ran.columns, self._slos))
        if 2 * self._begins_s / 2.0 ** (at / STEPS) < lasted_s(ran):
            self._too_short.add(at)

    def too_short(self, at: int) -> bool:
        """Whether requests begin for less than half of the time at this point, which has been replayed."""
        return at in self._too_short

    def excess(self, at: int) -> float:
        """Logarithm of the figure that is farthest beyond its limit over that limit, at a point that was replayed."""
        found = self._points[at].figures
        ratios = [math.inf if (value := found[slo.key]) is None else value / slo.limit_s for slo in self._slos]
        return min(max(math.log(max(*ratios, 1e-30)), -_FAR), _FAR)

    def edge(self, low: int, high: int) -> int:
        """As `edge`, the next point being where a line through both ends meets the limit, every third time the middle.

        `low` holds and `high` does not.
        """
        turn = 0
        while high - low > 1:
            turn += 1
            below, above = self.excess(low), self.excess(high)
            share = 0.5 if turn % 3 == 0 or above <= below else -below / (above - below)
            at = min(max(round(low + share * (high - low)), low + 1), high - 1)
            low, high = (at, high) if self.holds(at) else (low, at)
        return low

    def fails_below(self, low: int) -> bool:
        """Whether a point near below one that holds does not; one is replayed unless there is one."""
        near = range(low - _NEAR, low)
        if not any(at in self._points for at in near):
            self.holds(low - _NEAR // 2)
        return not all(self.holds(at) for at in near if at in self._points)

    def look_above(self, high: int) -> None:
        """Replay a point near above one that does not hold, unless one has been."""
        if not any(at in self._points for at in range(high + 1, high + _NEAR + 1)):
            self.holds(high + _NEAR // 2)

    def found(self, low: int | None, high: int | None) -> Goodput:
        """The answer."""
        under, over = (None if at is None else self._points[at] for at in (low, high))
        held = [at for at in sorted(self._points) if high is not None and at > high and self.holds(at)]
        beyond = [self._points[at].rate_per_s for at in held]
        return Goodput(under, over, tuple(beyond), len(self._points))
