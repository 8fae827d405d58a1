"""Seconds of one kernel by its shape: a small physical model a class, its parameters fitted to measurements.

Bandwidths, peaks and SMs come from a chip's datasheet, shares of them and latencies in seconds from the fit: that is
what lets a chip without measurements borrow a relative's. Each curve has `seconds(chip, shape, hot)` and
`parts(chip, shape, hot)`, the same by what takes them.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kvsim.specs.hardware import Chip

Floats = NDArray[np.float64]
Shape = Mapping[str, Any]  # numbers or arrays of one shape, and "dtype"


class Curve(Protocol):
    """A kernel's seconds on any chip."""

    def seconds(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> Floats:
        """Seconds of one kernel. `hot`: share of its bytes that rest in L2, 0 where a model streams them."""
        ...

    def parts(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> dict[str, Floats]:
        """The seconds that each of its bounds would take alone: "latency", "bf16 FLOPs", "HBM bandwidth" ..."""
        ...


def figures(shape: Shape, *names: str) -> tuple[Floats, ...]:
    """These of a shape, as arrays of one shape."""
    return np.broadcast_arrays(*(np.asarray(shape[name], np.float64) for name in names))


def partial_bytes(batch: Any, heads: Any, dim: Any, parts: Any) -> Any:
    """Of a decode's partial results, each row's in so many parts: sums and their scale in fp32, written and read."""
    return 8.0 * batch * heads * (dim + 1) * parts


def bodies(longest_of: list[Floats], exposed: Floats | float) -> Floats:
    """Seconds of work that overlaps: the longest, and the share `exposed` of the others."""
    longest = longest_of[0]
    for one in longest_of[1:]:
        longest = np.maximum(longest, one)
    total = longest_of[0]
    for one in longest_of[1:]:
        total = total + one
    return longest + exposed * (total - longest)
