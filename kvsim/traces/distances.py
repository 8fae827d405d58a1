"""How far apart two samples are."""

import numpy as np

from kvsim.traces.trace import Floats, Ints


def kolmogorov_smirnov(one: Floats | Ints, other: Floats | Ints) -> float:
    """The largest difference of two samples' cumulative distributions, 0 to 1."""
    values = np.concatenate([one, other])
    return float(np.abs(_shares(one, values) - _shares(other, values)).max())


def wasserstein(one: Floats | Ints, other: Floats | Ints) -> float:
    """The area between two samples' cumulative distributions, in the samples' unit (first Wasserstein distance)."""
    values = np.sort(np.concatenate([one, other])).astype(np.float64)
    between = np.abs(_shares(one, values[:-1]) - _shares(other, values[:-1]))
    return float((between * np.diff(values)).sum())


def _shares(sample: Floats | Ints, values: Floats | Ints) -> Floats:
    """The share of a sample that is at most each of the values."""
    shares: Floats = np.searchsorted(np.sort(sample), values, side="right") / len(sample)
    return shares
