"""Which of several options no other beats in everything."""

from collections.abc import Sequence

import numpy as np


def front(points: Sequence[Sequence[float]]) -> list[bool]:
    """Of points [n, axes], smaller being better: whether none is as good on every axis and better on one.

    Equal points are on the front together, or not at all.
    """
    if not points:
        return []
    values = np.asarray(points, np.float64)
    as_good = (values[:, None] <= values[None]).all(axis=2)
    better = (values[:, None] < values[None]).any(axis=2)
    beaten = np.any(as_good & better, axis=0)
    return [not one for one in beaten]
