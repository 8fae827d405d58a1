"""Moments of arrival, some at a time: renewal processes, rates over a day, rates that jump between states."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from kvsim.traces.draw import Rng
from kvsim.traces.laws import Arrivals, Curve, State
from kvsim.traces.trace import Floats, Ints

ROWS = 1_000_000  # drawn together
_SINE_POINTS = 1440  # of a period: straight lines between them are within 3e-6 of the sine
_DWELLS = 4096


def arrival_parts(spec: Arrivals, count: int, rng: Rng) -> Iterator[Floats]:
    """`count` moments in seconds, rising, in parts of at most ROWS; what comes first does not depend on `count`."""
    if spec.process == "constant" and spec.rate_per_s:
        for at in range(0, count, ROWS):
            yield np.arange(at, min(count, at + ROWS)) / spec.rate_per_s
        return
    states = _States(spec.states, rng.spawn(1)[0]) if spec.states else None
    curve = _Curve.of(spec.curve) if spec.curve else None
    latest = 0.0
    for passed, mean in _passed(spec, count, rng):
        if spec.rate_per_s:
            yield passed / (mean * spec.rate_per_s)
            continue
        at_s = states.at(passed / mean) if states else curve.at(passed / mean) if curve else passed
        at_s = np.maximum.accumulate(np.maximum(at_s, latest))  # rounding must not turn two around
        latest = float(at_s[-1])
        yield at_s


def _passed(spec: Arrivals, count: int, rng: Rng) -> Iterator[tuple[Floats, float]]:
    """Sums of gaps, and the mean of a gap, in the process's own time."""
    total = 0.0
    for at in range(0, count, ROWS):
        many = min(ROWS, count - at)
        gaps, mean = np.ones(many), 1.0
        if spec.process in ("poisson", "mmpp"):
            gaps = rng.standard_exponential(many)
        elif spec.process == "gamma":
            mean = spec.shape if spec.shape is not None else 1 / float(spec.cv or 1) ** 2
            gaps = rng.standard_gamma(mean, many)
        elif spec.process == "weibull":
            shape = spec.shape if spec.shape is not None else weibull_shape(float(spec.cv or 1))
            mean = math.gamma(1 + 1 / shape)
            gaps = rng.weibull(shape, many)
        passed = np.cumsum(np.concatenate([[total], gaps]))[1:]  # as one cumsum over all would have it
        total = float(passed[-1])
        yield passed, mean


@cache
def weibull_shape(cv: float) -> float:
    """The shape of a Weibull law with this coefficient of variation: cv^2 + 1 = G(1 + 2/k) / G(1 + 1/k)^2."""
    low, high = 0.05, 1e5  # cv falls from 4e5 to 1e-5
    for _ in range(200):
        middle = math.sqrt(low * high)
        if math.lgamma(1 + 2 / middle) - 2 * math.lgamma(1 + 1 / middle) > math.log1p(cv * cv):
            low = middle
        else:
            high = middle
    return math.sqrt(low * high)


@dataclass(frozen=True)
class _Curve:
    """Rates at moments of a period, straight lines between them; `expected` arrivals until each moment."""

    time_s: Floats
    rate_per_s: Floats
    expected: Floats

    @classmethod
    def of(cls, curve: Curve) -> "_Curve":
        time_s, rate_per_s = curve_points(curve)
        areas = (rate_per_s[:-1] + rate_per_s[1:]) / 2 * np.diff(time_s)
        return cls(time_s, rate_per_s, np.concatenate([[0.0], np.cumsum(areas)]))

    def at(self, expected: Floats) -> Floats:
        """The moments until which so many arrivals are expected: the integral of the rate, solved exactly."""
        periods, rest = np.divmod(expected, self.expected[-1])
        piece = np.clip(np.searchsorted(self.expected, rest, side="left") - 1, 0, len(self.time_s) - 2)
        first, last = self.rate_per_s[piece], self.rate_per_s[piece + 1]
        slope = (last - first) / (self.time_s[piece + 1] - self.time_s[piece])
        area = rest - self.expected[piece]
        root = first + np.sqrt(np.maximum(first * first + 2 * slope * area, 0.0))
        into = np.divide(2 * area, root, out=np.zeros_like(root), where=root > 0)
        moments: Floats = periods * self.time_s[-1] + self.time_s[piece] + into
        return moments


def expected_arrivals(curve: Curve, at_s: Floats) -> Floats:
    """Arrivals that are expected until each moment: the integral of the rate."""
    known = _Curve.of(curve)
    periods, rest = np.divmod(at_s, known.time_s[-1])
    piece = np.clip(np.searchsorted(known.time_s, rest, side="right") - 1, 0, len(known.time_s) - 2)
    into = rest - known.time_s[piece]
    first, last = known.rate_per_s[piece], known.rate_per_s[piece + 1]
    slope = (last - first) / (known.time_s[piece + 1] - known.time_s[piece])
    expected: Floats = periods * known.expected[-1] + known.expected[piece] + into * (first + slope * into / 2)
    return expected


def curve_points(curve: Curve) -> tuple[Floats, Floats]:
    """(seconds of the period, rates there), the period's end included."""
    if curve.points is not None:
        points = [*curve.points, (curve.period_s, curve.points[0][1])]
        return np.array([at for at, _ in points]), np.array([rate for _, rate in points])
    time_s = np.linspace(0, curve.period_s, _SINE_POINTS + 1)
    angle = 2 * np.pi * (time_s - curve.peak_s) / curve.period_s
    assert curve.rate_per_s is not None and curve.amplitude is not None  # the spec sees to it
    return time_s, curve.rate_per_s * (1 + curve.amplitude * np.cos(angle))


class _States:
    """The states that a Markov-modulated process goes through, as far as they were asked for."""

    def __init__(self, states: list[State], rng: Rng) -> None:
        self._rates = np.array([state.rate_per_s for state in states])
        self._dwells = np.array([state.dwell_mean_s for state in states])
        self._rng = rng
        shares = np.cumsum(self._dwells) / self._dwells.sum()  # of time: all states are entered equally often
        self._state = int(np.searchsorted(shares[:-1], rng.random(), side="right"))
        self._time_s, self._expected, self._entered = np.zeros(1), np.zeros(1), np.empty(0)

    def at(self, expected: Floats) -> Floats:
        """The moments until which so many arrivals are expected."""
        while self._expected[-1] < expected[-1]:
            self._go_on()
        piece = np.searchsorted(self._expected[1:], expected, side="left")
        moments: Floats = self._time_s[piece] + (expected - self._expected[piece]) / self._entered[piece]
        keep = max(0, int(piece[-1]))
        self._time_s, self._expected, self._entered = (
            self._time_s[keep:],
            self._expected[keep:],
            self._entered[keep:],
        )
        return moments

    def _go_on(self) -> None:
        count = len(self._rates)
        steps: Ints = np.zeros(_DWELLS, np.int64)
        if count > 1:
            steps = 1 + (self._rng.random(_DWELLS) * (count - 1)).astype(np.int64)
        state = (self._state + np.cumsum(steps) - steps) % count
        self._state = int((state[-1] + steps[-1]) % count)
        dwell_s = self._rng.standard_exponential(_DWELLS) * self._dwells[state]
        rates = self._rates[state]
        self._time_s = np.concatenate([self._time_s[:-1], np.cumsum(np.append(self._time_s[-1], dwell_s))])
        areas = np.append(self._expected[-1], dwell_s * rates)
        self._expected = np.concatenate([self._expected[:-1], np.cumsum(areas)])
        self._entered = np.concatenate([self._entered, rates])
