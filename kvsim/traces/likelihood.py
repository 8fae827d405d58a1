"""The likelihood of gaps between arrivals under the processes that can be generated, and the parameters of the best."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvsim.traces.trace import Floats

MMPP_GAPS = 20_000  # more are not looked at: the search goes over all of them hundreds of times
_GOLDEN = (math.sqrt(5) - 1) / 2
_SHAPES = (0.011, 1e3)


@dataclass(frozen=True)
class Law:
    """A process with its parameters as `arrivals:` takes them, without its rate where it has one."""

    process: str
    spec: dict[str, Any]
    log_likelihood: float  # of the gaps, in nats
    parameters: int

    @property
    def aic(self) -> float:
        """Akaike's criterion: the less, the better."""
        return 2 * self.parameters - 2 * self.log_likelihood


def laws(gaps: Floats) -> list[Law]:
    """Each process with the parameters that fit positive gaps best, the best one first."""
    found = [_poisson(gaps), _gamma(gaps), _weibull(gaps)]
    jumping = _mmpp(gaps)
    return sorted([*found, *([jumping] if jumping else [])], key=lambda law: law.aic)


def _poisson(gaps: Floats) -> Law:
    return Law("poisson", {}, -len(gaps) * (math.log(gaps.mean()) + 1), 1)


def _gamma(gaps: Floats) -> Law:
    mean, logs = float(gaps.mean()), float(np.log(gaps).mean())

    def each(shape: float) -> float:
        return shape * math.log(shape / mean) - math.lgamma(shape) + (shape - 1) * logs - shape

    shape = _highest(each, *_SHAPES)
    return Law("gamma", {"shape": shape}, len(gaps) * each(shape), 2)


def _weibull(gaps: Floats) -> Law:
    """With the scale that gives the sample's mean, as it is generated."""
    mean, logs = float(gaps.mean()), np.log(gaps)

    def each(shape: float) -> float:
        scale = math.log(mean) - math.lgamma(1 + 1 / shape)
        with np.errstate(over="ignore"):
            powers = float(np.exp(shape * (logs - scale)).mean())
        return math.log(shape) - shape * scale + (shape - 1) * float(logs.mean()) - powers

    shape = _highest(each, 0.1, _SHAPES[1])
    return Law("weibull", {"shape": shape}, len(gaps) * each(shape), 2)


def _highest(of: Callable[[float], float], low: float, high: float) -> float:
    """Where a function with one maximum has it, by golden section in the logarithm."""
    begin, end = math.log(low), math.log(high)
    left, right = end - _GOLDEN * (end - begin), begin + _GOLDEN * (end - begin)
    left_value, right_value = of(math.exp(left)), of(math.exp(right))
    while end - begin > 1e-6:
        if left_value > right_value:
            end, right, right_value = right, left, left_value
            left = end - _GOLDEN * (end - begin)
            left_value = of(math.exp(left))
        else:
            begin, left, left_value = left, right, right_value
            right = begin + _GOLDEN * (end - begin)
            right_value = of(math.exp(right))
    return math.exp((begin + end) / 2)


def _mmpp(gaps: Floats) -> Law | None:
    """Two states, by the exact likelihood (Fischer, Meier-Hellstern 1993), searched from some starts."""
    sample = gaps[:MMPP_GAPS]
    if len(sample) < 20:
        return None
    mean = float(sample.mean())

    def cost(logs: Floats) -> float:
        return -mmpp_log_likelihood(sample / mean, *np.exp(np.clip(logs, -20, 20)).tolist())

    best: tuple[float, Floats] | None = None
    for fast, slow, stay in ((3.0, 0.3, 10.0), (10.0, 0.1, 30.0), (30.0, 0.3, 3.0), (1.5, 0.7, 100.0)):
        found = nelder_mead(cost, np.log([slow, fast, 1 / stay, 1 / stay]), 250)
        if best is None or found[0] < best[0]:
            best = found
    assert best
    slow, fast, leave_slow, leave_fast = np.exp(np.clip(best[1], -20, 20)).tolist()
    states = [
        {"rate_per_s": min(rate / mean, 1e6), "dwell_mean_s": min(max(mean / leave, 1e-6), 1e9)}
        for rate, leave in ((slow, leave_slow), (fast, leave_fast))
    ]
    each = (-best[0] - len(sample) * math.log(mean)) / len(sample)
    return Law("mmpp", {"states": states}, each * len(gaps), 4)


def mmpp_log_likelihood(gaps: Floats, slow: float, fast: float, leave_slow: float, leave_fast: float) -> float:
    """Of gaps under two Poisson rates, with rates of leaving each: log of the product of exp((Q - R) x) R."""
    a, d, b, c = -leave_slow - slow, -leave_fast - fast, leave_slow, leave_fast
    middle, half = (a + d) / 2, math.sqrt(((a - d) / 2) ** 2 + b * c)
    half = max(half, 1e-12)
    grown, shrunk = np.exp((middle + half) * gaps), np.exp((middle - half) * gaps)
    even, odd = (grown + shrunk) / 2, (grown - shrunk) / (2 * half)
    steps = np.empty((len(gaps), 2, 2))
    steps[:, 0, 0] = (even + odd * (a - middle)) * slow
    steps[:, 0, 1] = odd * b * fast
    steps[:, 1, 0] = odd * c * slow
    steps[:, 1, 1] = (even + odd * (d - middle)) * fast
    product, log_scale = _product(steps)
    seen = np.array([leave_fast * slow, leave_slow * fast])  # the state that an arrival finds
    total = float((seen / seen.sum() @ product).sum())
    return log_scale + math.log(total) if total > 0 and math.isfinite(log_scale) else -1e300


def _product(steps: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """(product of matrices from left to right over its largest element, log of that), pair by pair."""
    log_scale = 0.0
    while True:
        scale = steps.max(axis=(1, 2))
        if not scale.min() > 0:
            return steps[0], -math.inf
        log_scale += float(np.log(scale).sum())
        steps = steps / scale[:, None, None]
        if len(steps) == 1:
            return steps[0], log_scale
        odd = steps[-1:] if len(steps) % 2 else steps[:0]
        even = steps[: len(steps) // 2 * 2]
        steps = np.concatenate([even[::2] @ even[1::2], odd])


def nelder_mead(cost: Callable[[Floats], float], start: Floats, steps: int) -> tuple[float, Floats]:
    """(cost, place) of a minimum by the downhill simplex (Nelder, Mead 1965)."""
    corners = [start, *(start + 0.5 * side for side in np.eye(len(start)))]
    simplex = sorted(((cost(corner), at, corner) for at, corner in enumerate(corners)), key=lambda item: item[:2])
    for step in range(len(corners), len(corners) + steps):
        centre = np.mean([corner for _, _, corner in simplex[:-1]], axis=0)
        worst = simplex[-1][2]

        def at(
            times: float, step: int = step, centre: Floats = centre, worst: Floats = worst
        ) -> tuple[float, int, Floats]:
            place: Floats = centre + times * (centre - worst)
            return cost(place), step, place

        tried = at(1.0)
        if tried[0] < simplex[0][0]:
            tried = min(tried, at(2.0), key=lambda item: item[0])
        elif tried[0] >= simplex[-2][0]:
            tried = min(tried, at(0.5), at(-0.5), key=lambda item: item[0])
        if tried[0] < simplex[-1][0]:
            simplex[-1] = tried
        else:
            best = simplex[0][2]
            simplex = [simplex[0], *((cost(c := best + 0.5 * (corner - best)), i, c) for _, i, corner in simplex[1:])]
        simplex.sort(key=lambda item: item[:2])
        if simplex[-1][0] - simplex[0][0] < 1e-6 * abs(simplex[0][0]):
            break
    return simplex[0][0], simplex[0][2]
