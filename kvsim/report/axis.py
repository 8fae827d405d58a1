"""A chart's axes: where values lie, and round figures to label."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, floor, log10

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Label = Callable[[float], str]


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`, with ticks (value, label)."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    logarithmic: bool = False

    def share(self, values: Floats) -> Floats:
        """Where values lie, 0 at `low`, 1 at `high`, cut there."""
        if self.logarithmic:
            values = np.log10(np.maximum(values, self.low))
            low, high = log10(self.low), log10(self.high)
        else:
            low, high = self.low, self.high
        found: Floats = np.clip((values - low) / (high - low), 0.0, 1.0)
        return found


def linear(high: float, label: Label, most: int = 5) -> Axis:
    """From 0 to `high`, with at most `most` steps of 1, 2 or 5 times a power of ten."""
    high = high if high > 0 else 1.0
    rough = high / most
    power = 10.0 ** floor(log10(rough))
    step = next(power * factor for factor in (1.0, 2.0, 5.0, 10.0) if power * factor >= rough * (1 - 1e-9))
    count = floor(high / step * (1 + 1e-9))
    return Axis(0.0, high, tuple((i * step, label(i * step)) for i in range(count + 1)))


def logarithmic(low: float, high: float, label: Label, most: int = 5) -> Axis:
    """Whole decades around `low` to `high`, both more than 0; every second or third labelled where there are many."""
    first, last = floor(log10(low) + 1e-9), ceil(log10(high) - 1e-9)
    last = max(last, first + 1)
    every = ceil((last - first) / most)
    ticks = tuple((10.0**power, label(10.0**power)) for power in range(first, last + 1, every))
    return Axis(10.0**first, 10.0**last, ticks, logarithmic=True)


def tight(low: float, high: float, label: Label, most: int = 5) -> Axis:
    """Logarithmic, a little beyond `low` and `high`, both more than 0, with ticks at 1, 2 and 5 where there is room."""
    low, high = low / 1.3, high * 1.3
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        ticks = [factor * 10.0**power for power in powers for factor in factors]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= most + 1:
            break
    every = ceil(len(ticks) / most) if len(ticks) > most + 1 else 1
    return Axis(low, high, tuple((tick, label(tick)) for tick in ticks[::every]), logarithmic=True)


def round_label(value: float) -> str:
    """A tick without an exponent and without needless digits: 0, 0.5, 20, 1,500."""
    return f"{value:,.6g}" if value < 1e6 else f"{value:,.0f}"
