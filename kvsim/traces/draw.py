"""Random draws as arrays: arrivals, lengths in tokens, kinds by weight."""

import math

import numpy as np
from numpy.typing import ArrayLike

from kvsim.traces.trace import Floats, Ints
from kvsim.traces.workload import Arrivals, Length

Rng = np.random.Generator


def arrivals_s(spec: Arrivals, count: int, rng: Rng) -> Floats:
    """`count` moments in seconds with gaps of mean 1/rate; gamma's coefficient of variation is `spec.cv`."""
    assert spec.rate_per_s  # the spec sees to it
    if spec.process == "constant":
        return np.arange(count) / spec.rate_per_s
    if spec.process == "poisson":
        return np.cumsum(rng.standard_exponential(count)) / spec.rate_per_s
    shape = 1 / float(spec.cv or 1) ** 2
    return np.cumsum(rng.standard_gamma(shape, count)) / (shape * spec.rate_per_s)


def lengths(spec: Length, count: int, rng: Rng) -> Ints:
    """`count` token counts from 1 to `spec.max`."""
    return mixed([spec], np.zeros(count, np.int64), rng)


def mixed(specs: list[Length], kinds: Ints, rng: Rng) -> Ints:
    """For each request i a token count by `specs[kinds[i]]`."""
    spreads = np.array([sigma(spec) for spec in specs])
    centres = np.array([math.log(spec.tokens or spec.mean or 1.0) for spec in specs]) - spreads**2 / 2
    most = np.array([float(spec.max) for spec in specs])
    with np.errstate(over="ignore"):  # infinite draws are clipped as well
        drawn = np.exp(centres[kinds] + spreads[kinds] * rng.standard_normal(len(kinds)))
    tokens: Ints = np.clip(np.rint(drawn), 1, most[kinds]).astype(np.int64)
    return tokens


def sigma(spec: Length) -> float:
    """Standard deviation of a length's logarithm; 0 for a fixed one."""
    return spec.sigma if spec.sigma is not None else math.sqrt(math.log1p((spec.cv or 0.0) ** 2))


def kinds(weights: ArrayLike, count: int, rng: Rng) -> Ints:
    """`count` indices, each drawn in proportion to its weight."""
    bounds = np.cumsum(np.asarray(weights, np.float64))
    drawn: Ints = np.searchsorted(bounds[:-1], rng.random(count) * bounds[-1], side="right").astype(np.int64)
    return drawn
