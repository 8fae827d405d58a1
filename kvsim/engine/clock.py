"""Simulated time on SimPy, imported here only. Callbacks at absolute times, in a fixed order when times are equal."""

from collections.abc import Callable
from heapq import heappush
from typing import Any

from simpy.core import Environment, StopSimulation

ARRIVAL, STEP = 0, 1  # at equal times an arrival is seen by the step that starts then


class Call:
    """What SimPy's queue needs of an event, without the rest: it happens, and calls back once."""

    __slots__ = ("_ok", "callbacks")

    def __init__(self, call: "Callable[[Call], None]") -> None:
        self.callbacks = [call]
        self._ok = True


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
        queue: list[Any] = self._queue
        heappush(queue, (time_s, order, next(self._eid), event))
        return event

    def run_until(self, time_s: float | None) -> None:
        """Run until nothing is left to happen, or up to and including `time_s`."""
        if time_s is not None:
            self.at(time_s, STEP + 1, _stop)
        self.run()


def _stop(event: Call) -> None:
    raise StopSimulation(None)
