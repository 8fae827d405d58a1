"""What a class of measurements is made of: points, each a row of its table."""

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Cell = int | float | str


class Unable(Exception):
    """This chip, or this version of a library, cannot do it: said in one line, and no row is written."""


@dataclass(frozen=True)
class Measured:
    """Seconds of one launch (mean of two measurements), their relative difference, the SM clock and power meanwhile.

    `extra`: further columns of the class, such as bytes. A clock or power of 0 was not known.
    """

    seconds: float
    noise: float
    clock_mhz: float = 0.0
    power_w: float = 0.0
    extra: Mapping[str, Cell] = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """`launch(i)` issues the work over buffer set i of `sets`. `heat`: bound by arithmetic, so it is timed warm."""

    launch: Callable[[int], object]
    sets: int
    heat: bool = False
    extra: Mapping[str, Cell] = field(default_factory=dict)


@dataclass(frozen=True)
class Point:
    """One row: the cells that name it, and either the work to time or (`measure`) how it is measured."""

    cells: Mapping[str, Cell]
    build: Callable[[Any], Work] | None = None
    measure: Callable[[Any], Measured] | None = None

    @property
    def key(self) -> tuple[str, ...]:
        """What tells a row from others, as text, as a CSV holds it."""
        return tuple(str(cell) for cell in self.cells.values())


def spread(points: Iterable[Point]) -> list[Point]:
    """In an order of which every beginning covers the grid: shuffled, always alike."""
    found = list(points)
    random.Random(0).shuffle(found)
    return found
