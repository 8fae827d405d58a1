"""Simulated time on SimPy, imported here only. Callbacks at absolute times, in a fixed order when times are equal."""

from collections.abc import Callable
from heapq import heappop, heappush
from math import inf
from typing import Any

from simpy.core import Environment

ARRIVAL, STEP = 0, 1  # at equal times an arrival is seen by the step that starts then


class Call:
    """The least that can wait in SimPy's queue: it happens, and calls back once."""

    __slots__ = ("call",)

    def __init__(self, call: "Callable[[Call], None]") -> None:
        self.call = call


class Clock(Environment):
    """A SimPy environment that schedules at absolute times: no rounding of `now + delay` shifts an event."""

    def at(self, time_s: float, order: int, call: Callable[[Call], None]) -> Call:
        """Call `call` at `time_s`; among equal times by `order`, then in order of scheduling.

        Raises:
            RuntimeError: the time is in the past.
        """
        if time_s < self._now:
            raise RuntimeError(f"cannot schedule at {time_s} s: it is {self._now} s")
        event = Call(call)
        heappush(self._queue, (time_s, order, next(self._eid), event))  # type: ignore[misc]
        return event

    def run_until(self, time_s: float | None) -> None:
        """Run until nothing is left to happen, or up to and including `time_s`."""
        queue: list[Any] = self._queue
        end_s = inf if time_s is None else time_s
        while queue and queue[0][0] <= end_s:
            if type(queue[0][3]) is Call:
                self._now, _, _, event = heappop(queue)
                event.call(event)
            else:
                self.step()  # an event of SimPy's own
