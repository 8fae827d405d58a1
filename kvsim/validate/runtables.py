"""Tables of runs: engines that others measured, a user's own log, logged replays and steps, as text and JSON."""

from collections.abc import Iterator, Sequence
from typing import Any

from kvsim.report.words import percent, seconds
from kvsim.validate.enginelog import LogCheck
from kvsim.validate.engines import EngineCheck


def signed(share: float | None) -> str:
    """+3.2 %."""
    return "-" if share is None else f"{share:+.1%}".replace("%", " %")


def engine_lines(found: Sequence[EngineCheck]) -> Iterator[str]:
    """A row a run: measured and predicted means, errors, and the first token without reuse."""
    heads = f"{'ttft':>18}{'':>9}{'e2e':>18}{'':>9}{'tpot':>9}{'step':>9}{'ttft p50':>10}{'p99':>9}{'no reuse':>11}"
    yield f"{'run':<27}{'rate':>6}{heads}"
    for engine in dict.fromkeys(one.engine for one in found):
        yield engine
        for one in (one for one in found if one.engine == engine):
            cells = []
            for name in ("ttft_s", "e2e_s"):
                pair = (one.run.measured[name]["mean"], one.predicted[name]["mean"])
                cells.append(f"{seconds(pair[0]):>9}{seconds(pair[1]):>9}{signed(one.error(name, 'mean')):>9}")
            apart = seconds(one.without_reuse["ttft_s"]["mean"])
            ranks = f"{signed(one.error('ttft_s', 'p50')):>10}{signed(one.error('ttft_s', 'p99')):>9}"
            tail = f"{signed(one.tpot_error):>9}{signed(one.step_error):>9}{ranks}{apart:>11}"
            yield f"  {one.run.name:<25}{one.run.rate_per_s:>5g}{cells[0]}{cells[1]}{tail}"
    yield "means as measured, as predicted, and predicted / measured - 1; no reuse: the first token without hits"
    yield "step: a step of as many requests as ran, of the time per token that was measured"
    for rates in dict.fromkeys(one.rates for one in found):
        yield f"kernel times: {rates}"


def engine_json(found: Sequence[EngineCheck]) -> list[dict[str, Any]]:
    """The same as objects."""
    return [
        {
            "engine": one.engine,
            "run": one.run.name,
            "hw": one.run.hw,
            "model": one.run.model,
            "rate_per_s": one.run.rate_per_s,
            "measured": one.run.measured,
            "predicted": {
                name: {key: took[key] for key in ("mean", "p50", "p90", "p99")} for name, took in one.predicted.items()
            },
            "tpot_s": {"measured": one.tpot_s[0], "predicted": one.tpot_s[1]},
            "step_s": one.step_s,
            "without_reuse": {
                "ttft_s": one.without_reuse["ttft_s"]["mean"],
                "e2e_s": one.without_reuse["e2e_s"]["mean"],
            },
            "provenance": one.rates,
        }
        for one in found
    ]


def log_lines(found: LogCheck, where: str) -> Iterator[str]:
    """Latencies by percentile, measured over predicted, and what explains the difference."""
    yield f"{where}: {len(found.trace):,} requests, measured and predicted"
    ranks = list(next(iter(found.latencies.values())).percentiles)
    yield f"{'':<22}{'mean':>11}" + "".join(f"{f'p{rank}':>11}" for rank in ranks) + f"{'of a request':>14}{'order':>8}"
    for name, one in found.latencies.items():
        pairs = [one.mean, *one.percentiles.values()]
        for label, at in ((f"{name} measured", 0), ("  predicted", 1)):
            yield f"{label:<22}" + "".join(f"{seconds(pair[at]):>11}" for pair in pairs)
        errors = "".join(f"{signed(pair[1] / pair[0] - 1 if pair[0] else None):>11}" for pair in pairs)
        order = "-" if one.correlation is None else f"{one.correlation:.2f}"
        yield f"{'  error':<22}{errors}{percent(one.median_error):>14}{order:>8}"
    measured, predicted = found.output_tokens_per_s
    off = signed(predicted / measured - 1)
    yield f"output tokens a second: {measured:,.0f} measured, {predicted:,.0f} predicted ({off})"
    yield "of a request: median of |predicted / measured - 1|; order: rank correlation"
    yield ""
    yield from (f"- {line}" for line in found.explained)


def log_json(found: LogCheck) -> dict[str, Any]:
    """The same as one object."""
    return {
        "names": found.report.names,
        "requests": len(found.trace),
        "latencies": {
            f"{name}_s": {
                "requests": one.requests,
                "mean": {"measured": one.mean[0], "predicted": one.mean[1]},
                **{f"p{rank}": {"measured": a, "predicted": b} for rank, (a, b) in one.percentiles.items()},
                "median_error": one.median_error,
                "rank_correlation": one.correlation,
            }
            for name, one in found.latencies.items()
        },
        "output_tokens_per_s": {"measured": found.output_tokens_per_s[0], "predicted": found.output_tokens_per_s[1]},
        "explained": list(found.explained),
        "assumptions": found.report.figures["assumptions"],
    }
