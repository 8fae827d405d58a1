"""A generator fitted to the first half of a trace, and how far what it makes is from the second half."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from kvsim.errors import UserError
from kvsim.specs.load import build
from kvsim.traces import clock, fit_prefixes
from kvsim.traces.arrivals import expected_arrivals
from kvsim.traces.blocks import one_by_one
from kvsim.traces.distances import kolmogorov_smirnov, wasserstein
from kvsim.traces.generate import generate
from kvsim.traces.laws import Curve
from kvsim.traces.likelihood import Law, laws
from kvsim.traces.stats import leading_seen
from kvsim.traces.trace import Floats, Ints, Trace
from kvsim.traces.workload import Generate

FEWEST = 100
_LOGNORMAL_KS = 0.03
_QUANTILES = 201
_CURVE_POINTS = 24


@dataclass(frozen=True)
class Fit:
    """`spec` is a `generate:` block; `figures` say how well it fits: what `kvsim trace fit --json` prints."""

    spec: dict[str, Any]
    figures: dict[str, Any]


def fit(trace: Trace, *, period_s: float = 86_400.0, seed: int = 0) -> Fit:
    """The generator of `arrivals`, lengths and `prefixes` that fits the first half of the requests best.

    Arrivals are Poisson, gamma, Weibull or Markov-modulated, by Akaike's criterion; with a curve of the rate over
    `period_s` if the half lasts that long. Lengths are lognormal if that is within a Kolmogorov-Smirnov distance of
    0.03, else quantiles. Sessions are not fitted: requests are independent of each other.

    Raises:
        UserError: fewer than FEWEST requests, or all at the same moment.
    """
    if len(trace) < FEWEST:
        raise UserError(f"{trace.name}: fitting needs at least {FEWEST} requests, but there are {len(trace)}")
    tick_s = clock.tick_s(trace)
    coarse = clock.note(trace) is not None
    if coarse:
        trace = clock.spread(trace, seed)
    half = len(trace) // 2
    train, held = trace.take(np.arange(half)), trace.take(np.arange(half, len(trace)))
    if not train.arrival_s[-1] > 0 or not held.arrival_s[-1] > held.arrival_s[0]:
        raise UserError(f"{trace.name}: all requests of a half arrive at the same moment")
    arrivals, candidates = _arrivals(train.arrival_s, period_s, tick_s)
    spec: dict[str, Any] = {"requests": len(trace), "arrivals": arrivals}
    prompt = train.prompt_tokens
    if found := fit_prefixes.shared(train):
        prompt = found.alone if len(found.alone) else found.own
        spec["prefixes"] = found.keys | {"tokens": _length(found.prefix), "own": _length(found.own)}
    spec |= {"prompt": _length(prompt), "output": _length(train.output_tokens)}
    made = generate(build(Generate, spec | {"requests": len(held)}, "fit"), seed, "made")
    figures = {
        "name": trace.name,
        "fitted_requests": half,
        "held_out_requests": len(held),
        "process": candidates[0].process,
        "aic": {law.process: law.aic for law in candidates},
        "distances": distances(made, held),
        "distances_of_halves": distances(train, held),
        "hit_ratio_tokens": _hit(made),
        "fitted_hit_ratio_tokens": _hit(train),
        "held_out_hit_ratio_tokens": _hit(held),
        "length_correlation": _correlation(train),
        "sessions_left_out": trace.sessions is not None,
        "ticks_spread_s": tick_s if coarse else None,
    }
    return Fit(spec, figures)


def distances(one: Trace, other: Trace) -> dict[str, dict[str, float]]:
    """Kolmogorov-Smirnov and Wasserstein distances of gaps in seconds and lengths in tokens, and the other's means."""
    columns: dict[str, tuple[Any, Any]] = {
        "gap_s": (np.diff(one.arrival_s), np.diff(other.arrival_s)),
        "prompt_tokens": (one.prompt_tokens, other.prompt_tokens),
        "output_tokens": (one.output_tokens, other.output_tokens),
    }
    return {
        name: {"ks": kolmogorov_smirnov(*pair), "wasserstein": wasserstein(*pair), "mean": float(pair[1].mean())}
        for name, pair in columns.items()
    }


def _arrivals(arrival_s: Floats, period_s: float, tick_s: float | None) -> tuple[dict[str, Any], list[Law]]:
    span_s = float(arrival_s[-1] - arrival_s[0])
    curve = _curve(arrival_s, period_s) if span_s >= period_s else None
    clocked = arrival_s
    if curve:
        clocked = expected_arrivals(build(Curve, curve, "fit"), arrival_s)
    gaps = np.diff(clocked)
    positive = gaps[gaps > 0]
    floor = 0.5 * (min(float(positive.min()), tick_s or math.inf) if not curve else float(positive.min()))
    candidates = laws(np.maximum(gaps, floor))  # two at the same moment came within a tick
    if curve:
        candidates = [law for law in candidates if law.process != "mmpp"]
    best = candidates[0]
    spec = {"process": best.process} | {key: _plain(value) for key, value in best.spec.items()}
    if curve:
        return spec | {"curve": curve}, candidates
    rate = {} if best.process == "mmpp" else {"rate_per_s": _plain((len(arrival_s) - 1) / span_s)}
    return spec | rate, candidates


def _curve(arrival_s: Floats, period_s: float) -> dict[str, Any]:
    """The rate at equal steps of the period: the mean around each, over whole periods."""
    whole = math.floor(float(arrival_s[-1]) / period_s) * period_s
    width_s = period_s / _CURVE_POINTS
    inside = arrival_s[arrival_s < whole]
    place = np.floor(inside % period_s / width_s + 0.5).astype(np.int64) % _CURVE_POINTS
    rates = np.bincount(place, minlength=_CURVE_POINTS) / (width_s * whole / period_s)
    floor = 1e-3 * float(rates.mean())  # no time of day is without any
    points = [(round(at * width_s, 6), _plain(max(float(rate), floor))) for at, rate in enumerate(rates)]
    return {"period_s": float(period_s), "points": points}


def _length(tokens: Ints) -> dict[str, Any]:
    """Fixed, lognormal or quantiles."""
    low, high = int(tokens.min()), int(tokens.max())
    if low == high:
        return {"tokens": low}
    logs = np.log(tokens)
    middle, spread = float(logs.mean()), float(logs.std())
    normal = np.exp(middle + spread * np.random.default_rng(0).standard_normal(20_000))
    drawn = np.clip(np.rint(normal), 1, high)
    if kolmogorov_smirnov(drawn, tokens) <= _LOGNORMAL_KS:
        return {"mean": _plain(math.exp(middle + spread**2 / 2)), "sigma": _plain(spread), "max": high}
    shares = np.linspace(0, 1, min(_QUANTILES, len(tokens)))
    return {"quantiles": [_plain(float(value)) for value in np.quantile(tokens, shares)]}


def _plain(value: Any) -> Any:
    """Six significant digits, also inside lists and mappings."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return float(f"{value:.6g}")


def _hit(trace: Trace) -> float | None:
    if not trace.blocks:
        return None
    blocks = one_by_one(trace.blocks)
    hit = np.minimum(leading_seen(blocks) * blocks.tokens, trace.prompt_tokens)
    return float(hit.sum() / trace.prompt_tokens.sum())


def _correlation(trace: Trace) -> float | None:
    """Pearson's, of the logarithms of prompts and outputs, which the generator draws independently."""
    prompt, output = np.log(trace.prompt_tokens), np.log(trace.output_tokens)
    if not (prompt.std() > 0 and output.std() > 0):
        return None
    return float(np.corrcoef(prompt, output)[0, 1])
