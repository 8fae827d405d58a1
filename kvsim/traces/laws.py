"""The laws that arrivals and lengths are drawn by, as YAML gives them."""

from typing import Literal

from pydantic import Field, model_validator

from kvsim.specs.load import Spec
from kvsim.traces.trace import MAX_TOKENS

Process = Literal["poisson", "gamma", "weibull", "constant", "mmpp", "trace"]
_NEEDS: dict[str, tuple[str, ...]] = {"mmpp": ("states",), "trace": ("trace",)}
_TAKES = {"gamma": ("cv", "shape"), "weibull": ("cv", "shape")}


class Curve(Spec):
    """A rate that changes over a period and then begins anew: a sine, or straight lines through points.

    The sine's mean is `rate_per_s`, from (1 - amplitude) to (1 + amplitude) times that; it rises at `peak_s` minus a
    quarter of the period. Points are (second of the period, requests per second), the first at 0; the last one's rate
    leads back to the first's at the end of the period.
    """

    period_s: float = Field(default=86_400.0, gt=0, le=1e9)
    rate_per_s: float | None = Field(default=None, ge=1e-9, le=1e6)
    amplitude: float | None = Field(default=None, ge=0, le=1)
    peak_s: float = Field(default=0.0, ge=0, le=1e9)
    points: list[tuple[float, float]] | None = Field(default=None, min_length=1, max_length=100_000)

    @model_validator(mode="after")
    def _one_kind(self) -> "Curve":
        if (self.points is None) == (self.amplitude is None):
            raise ValueError("needs either points or amplitude (a sine)")
        if (self.rate_per_s is None) != (self.amplitude is None):
            raise ValueError("a sine needs rate_per_s" if self.points is None else "points take no rate_per_s")
        if self.points is not None:
            times, rates = zip(*self.points, strict=True)
            if times[0] != 0 or any(a >= b for a, b in zip(times, (*times[1:], self.period_s), strict=True)):
                raise ValueError("points must begin at 0 s, rise, and end before period_s")
            if min(rates) < 0 or not 1e-9 <= max(rates) <= 1e6:
                raise ValueError("the rates of points must be at least 0, one of them from 1e-9 to 1e6")
        return self


class State(Spec):
    """A state of a Markov-modulated Poisson process: its rate, and the mean of the exponential time spent in it."""

    rate_per_s: float = Field(ge=0, le=1e6)
    dwell_mean_s: float = Field(ge=1e-6, le=1e9)


class Arrivals(Spec):
    """When requests arrive.

    Gaps are exponential (poisson), gamma or weibull with a `cv` or a `shape`, or equal (constant), with `rate_per_s`
    requests per second in the mean, or by a `curve` over the day: gaps are then drawn in time stretched by the rate.
    mmpp goes from state to state, each with its rate. trace takes the moments of a file.
    """

    process: Process = "poisson"
    rate_per_s: float | None = Field(default=None, ge=1e-9, le=1e6, description="requests per second")
    curve: Curve | None = Field(default=None, description="instead of rate_per_s: a rate that changes")
    cv: float | None = Field(default=None, ge=1e-3, le=100, description="standard deviation of the gaps over mean")
    shape: float | None = Field(default=None, ge=1e-2, le=1e6, description="instead of cv")
    states: list[State] | None = Field(default=None, min_length=1, max_length=100)
    trace: str | None = Field(default=None, description="trace: the file, relative to the YAML")

    @model_validator(mode="after")
    def _complete(self) -> "Arrivals":
        given = {key for key in ("rate_per_s", "curve", "cv", "shape", "states", "trace") if getattr(self, key)}
        needs = _NEEDS.get(self.process, ())
        rates = () if needs else ("rate_per_s", "curve")
        spreads = _TAKES.get(self.process, ())
        for key in sorted(given - {*needs, *rates, *spreads}):
            raise ValueError(f"process {self.process} takes no {key}")
        for key in needs:
            if key not in given:
                raise ValueError(f"process {self.process} needs {key}")
        for either in (rates, spreads):
            if either and len(given & set(either)) != 1:
                both = given >= set(either)
                wants = f"takes one of {' and '.join(either)}" if both else f"needs {' or '.join(either)}"
                raise ValueError(f"process {self.process} {wants}")
        if self.states and not any(state.rate_per_s for state in self.states):
            raise ValueError("one of states needs a rate_per_s above 0")
        return self


class Length(Spec):
    """How many tokens: always `tokens`, or lognormal with `mean` and `cv` (or `sigma` of the logarithm), or drawn from
    `quantiles`: values at equal steps of probability from 0 to 1, straight lines between them.

    Draws are rounded and clipped to 1..max; mean and cv are those before clipping.
    """

    tokens: int | None = Field(default=None, ge=1, le=MAX_TOKENS)
    mean: float | None = Field(default=None, gt=0, le=MAX_TOKENS)
    cv: float | None = Field(default=None, ge=0, le=100)
    sigma: float | None = Field(default=None, ge=0, le=10)
    quantiles: list[float] | None = Field(default=None, min_length=2, max_length=100_000)
    max: int = Field(default=MAX_TOKENS, ge=1, le=MAX_TOKENS)

    @model_validator(mode="after")
    def _one_kind(self) -> "Length":
        if sum(kind is not None for kind in (self.tokens, self.mean, self.quantiles)) != 1:
            raise ValueError("needs either tokens (fixed), mean (lognormal) or quantiles")
        if self.mean is not None and (self.cv is None) == (self.sigma is None):
            raise ValueError("a lognormal length needs either cv or sigma")
        if self.mean is None and not (self.cv is self.sigma is None):
            raise ValueError(f"a length of {'fixed tokens' if self.tokens else 'quantiles'} takes no cv or sigma")
        if self.quantiles and (
            self.quantiles[0] < 0 or any(a > b for a, b in zip(self.quantiles[:-1], self.quantiles[1:], strict=True))
        ):
            raise ValueError("quantiles must be at least 0 and must not fall")
        return self


class Share(Spec):
    """One kind of request in a mix: its weight among all, its prompts and outputs."""

    weight: float = Field(gt=0, le=1e9)
    prompt: Length
    output: Length
