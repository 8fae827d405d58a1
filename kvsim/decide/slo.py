"""Latency figures by name, `ttft_p99`, and limits on them: `ttft_p99=2s,tpot_p99=50ms`."""

from dataclasses import dataclass

from kvsim import units
from kvsim.errors import UserError, unknown

LATENCIES = ("ttft", "tpot", "e2e", "queue")
RANKS = ("mean", "p50", "p90", "p95", "p99")
FIGURES = {f"{name}_{rank}": (f"{name}_s", rank) for name in LATENCIES for rank in RANKS}


@dataclass(frozen=True)
class Slo:
    """The figure `key`, such as ttft_p99, must be at most `limit_s`."""

    key: str
    limit_s: float

    @property
    def latency(self) -> str:
        """Whose figure it is: ttft, tpot, e2e or queue."""
        return self.key.rpartition("_")[0]

    @property
    def rank(self) -> str:
        """mean, or a percentile such as p99."""
        return self.key.rpartition("_")[2]


def figure_of(key: str, where: str = "latency") -> tuple[str, str]:
    """("ttft_s", "p99") of "ttft_p99": where a run's report holds it.

    Raises:
        UserError: there is no such figure.
    """
    if key not in FIGURES:
        raise unknown("figure", key, FIGURES, where)
    return FIGURES[key]


def slos(text: str) -> tuple[Slo, ...]:
    """The limits in `ttft_p99=2s,tpot_p99=50ms`; each has its unit.

    Raises:
        UserError: an unknown figure, one given twice, no time, a limit that is not positive.
    """
    found: dict[str, Slo] = {}
    for part in text.split(","):
        key, equals, limit = (word.strip() for word in part.partition("="))
        if not equals:
            raise UserError(f"slo must be FIGURE=TIME,... such as ttft_p99=2s, but got {part.strip()!r}")
        figure_of(key, "slo")
        if key in found:
            raise UserError(f"slo: {key} is given twice")
        try:
            limit_s = units.parse(limit, "s")
        except ValueError as error:
            raise UserError(f"slo: {key} {error}") from None
        if not limit_s > 0:
            raise UserError(f"slo: {key} must be more than 0 s, but got {limit!r}")
        found[key] = Slo(key, limit_s)
    return tuple(found.values())
