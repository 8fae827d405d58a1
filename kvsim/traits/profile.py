"""Profile: what a policy's cost takes from data (shares of layers or heads, hit ratios, merged tokens), with a source.

No tensor is needed to cost a policy: a paper names each such figure with its spread and its source. A figure that
nobody measured is `assumed`, and every report says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from kvsim.specs.load import Count, Spec

ASSUMED = "assumed"


class Measured(Spec):
    """A figure in a file."""

    values: list[float]
    spread: float = 0.0
    source: str
    rows: Count = 1


class Profile(Spec):
    """A policy's measured figures: `workloads/profiles/<policy>.yaml`."""

    figures: dict[str, Measured]


@dataclass(frozen=True)
class Figure:
    """A figure that depends on data: one number, or several over the relative depth of layers (or rank of heads).

    Attributes:
        values: means. spread: standard deviation between requests, as a share of the mean.
        source: where they were measured, or "assumed".
        rows: of equal length that the values are, one after the other, over the relative depth of layers: of figures
            that both layers and heads have.
    """

    values: tuple[float, ...]
    spread: float = 0.0
    source: str = ASSUMED
    rows: int = 1

    @cached_property
    def mean(self) -> float:
        """Of all values."""
        return float(np.mean(self.values))

    def over(self, many: int) -> tuple[float, ...]:
        """Values for `many` layers: interpolated over relative depth, so that one model's figures serve another's."""
        return _over(self.values, many)

    def by_layer(self, many: int) -> tuple[tuple[float, ...], ...]:
        """A row for each of `many` layers; one that there is serves all."""
        return _by_layer(self.values, self.rows, many)


@cache
def _by_layer(values: tuple[float, ...], rows: int, many: int) -> tuple[tuple[float, ...], ...]:
    width = len(values) // rows
    return tuple(zip(*(_over(values[column::width], many) for column in range(width)), strict=True))


@cache
def _over(values: tuple[float, ...], many: int) -> tuple[float, ...]:
    known = np.linspace(0, 1, len(values)) if len(values) > 1 else np.zeros(1)
    return tuple(np.interp(np.linspace(0, 1, many), known, values).tolist())


EVEN = Figure((1.0,), 0.0, "by definition")


def assumed(*values: float, spread: float = 0.0) -> Figure:
    """A figure that nobody measured."""
    return Figure(values, spread)


def shares(weights: Sequence[float]) -> tuple[float, ...]:
    """Weights scaled to a mean of 1."""
    mean = sum(weights) / len(weights)
    return tuple(weight / mean for weight in weights)
