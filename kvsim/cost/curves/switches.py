"""A table of residuals on top of a GEMM's curve, where a library changes kernels by rules that it does not publish.

Factors belong to one library on one chip, are medians over the fitted half of the rows, and step at the classes'
bounds: within a class the curve says how seconds grow; from one to the next they may fall, as the library's do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from kvsim.cost.curves import Floats, Shape
from kvsim.specs.hardware import Chip

AXES = ("m", "n", "k")
SMALL = 0.05  # a class that its curve meets within this needs no factor
DOUBT = 5  # rows' worth of "no correction" in a class: its factor is the median's power rows / (rows + DOUBT)


@dataclass(frozen=True)
class SwitchedCurve:
    """A curve whose kernel takes a factor of its own seconds, those with all operands in L2.

    HBM traffic is no kernel's choice: it hides what a slower one takes longer, and a faster one saves no part of it.

    Attributes:
        bounds: the largest m, n and k of each class but the last, ascending.
        factors: [classes of m][of n][of k].
    """

    curve: Any
    bounds: Sequence[Sequence[float]]
    factors: Sequence[Sequence[Sequence[float]]]

    def seconds(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> Floats:
        """Seconds of the library's kernel. Shape: m, n, k, dtype."""
        found: Floats = self.curve.seconds(chip, shape, hot)
        return self._changed(chip, shape, np.asarray(found)) if self._any(shape) else found

    def parts(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> dict[str, Floats]:
        """The curve's parts, with what another kernel takes longer as latency, none longer than the whole."""
        found: dict[str, Floats] = self.curve.parts(chip, shape, hot)
        if not self._any(shape):
            return found
        before = np.asarray(self.curve.seconds(chip, shape, hot))
        whole = self._changed(chip, shape, before)
        found["latency"] = found["latency"] + np.maximum(whole - before, 0)
        return {name: np.minimum(took, whole) for name, took in found.items()}

    def _any(self, shape: Shape) -> bool:
        return bool((self._table[classes(self.bounds, shape)] != 1).any())

    def _changed(self, chip: Chip, shape: Shape, found: Floats) -> Floats:
        """`found` seconds of the curve, as the library's kernels take them."""
        factor = np.broadcast_to(self._table[classes(self.bounds, shape)], found.shape)
        other = factor != 1
        few = {name: np.broadcast_to(shape[name], found.shape)[other] for name in AXES}
        own_s, factor = self.curve.seconds(chip, {**shape, **few}, 1.0), factor[other]
        changed = found.copy()
        changed[other] = np.where(
            factor > 1, np.maximum(found[other], factor * own_s), found[other] - (1 - factor) * own_s
        )
        return changed

    @cached_property
    def _table(self) -> Floats:
        return np.array(self.factors, np.float64)


def classes(bounds: Sequence[Sequence[float]], shape: Shape) -> tuple[Any, ...]:
    """The class of each shape along m, n and k."""
    return tuple(np.searchsorted(limits, shape[name]) for name, limits in zip(AXES, bounds, strict=True))


def factors(bounds: Sequence[Sequence[float]], shape: Shape, error: Floats) -> list[list[list[float]]]:
    """Of each class, from measured over predicted seconds, two digits; 1 where little or nothing is amiss."""
    sizes = [len(limits) + 1 for limits in bounds]
    found = np.ones(sizes)
    at = np.ravel_multi_index(classes(bounds, shape), sizes)
    for which in np.unique(at):
        logs = np.log(error[at == which])
        log = np.median(logs) * len(logs) / (len(logs) + DOUBT)
        found.flat[which] = np.exp(log) if abs(log) > SMALL else 1.0
    rounded: list[list[list[float]]] = found.round(2).tolist()
    return rounded
