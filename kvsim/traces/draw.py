"""Random draws as arrays: lengths in tokens, kinds by weight."""

import math

import numpy as np
from numpy.typing import ArrayLike

from kvsim.traces.laws import Length
from kvsim.traces.trace import Floats, Ints

Rng = np.random.Generator


def lengths(spec: Length, count: int, rng: Rng) -> Ints:
    """`count` token counts from 1 to `spec.max`."""
    return mixed([spec], np.zeros(count, np.int64), rng)


def mixed(specs: list[Length], kinds: Ints, rng: Rng) -> Ints:
    """For each request i a token count by `specs[kinds[i]]`. Every request takes one normal deviate from `rng`."""
    spreads = np.array([sigma(spec) for spec in specs])
    centres = np.array([math.log(spec.tokens or spec.mean or 1.0) for spec in specs]) - spreads**2 / 2
    most = np.array([float(spec.max) for spec in specs])
    deviates = rng.standard_normal(len(kinds))
    with np.errstate(over="ignore"):  # infinite draws are clipped as well
        drawn = np.exp(centres[kinds] + spreads[kinds] * deviates)
    for kind, spec in enumerate(specs):
        if spec.quantiles is not None:
            mine = kinds == kind
            drawn[mine] = _quantile(spec.quantiles, deviates[mine])
    tokens: Ints = np.clip(np.rint(drawn), 1, most[kinds]).astype(np.int64)
    return tokens


def _quantile(values: list[float], deviates: Floats) -> Floats:
    """Values at the probabilities of normal deviates."""
    halves = np.fromiter(map(math.erf, (deviates / math.sqrt(2)).tolist()), np.float64, len(deviates))
    found: Floats = np.interp(0.5 + halves / 2, np.linspace(0, 1, len(values)), values)
    return found


def sigma(spec: Length) -> float:
    """Standard deviation of a length's logarithm; 0 for one that is not lognormal."""
    return spec.sigma if spec.sigma is not None else math.sqrt(math.log1p((spec.cv or 0.0) ** 2))


def kinds(weights: ArrayLike, count: int, rng: Rng) -> Ints:
    """`count` indices, each drawn in proportion to its weight."""
    bounds = np.cumsum(np.asarray(weights, np.float64))
    drawn: Ints = np.searchsorted(bounds[:-1], rng.random(count) * bounds[-1], side="right").astype(np.int64)
    return drawn
