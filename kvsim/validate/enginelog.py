"""A user's own engine, held against the simulator: `kvsim validate --log result.json --hw H --model M --serving S`.

The requests of the log are replayed as they were sent, and each predicted latency stands beside the one measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvsim.errors import UserError
from kvsim.replay import Report, run
from kvsim.traces.trace import Trace

Floats = NDArray[np.float64]
RANKS = (10, 50, 90, 99)
ALONE = 1.5  # a request waited for nobody if its first token came within so many of the quickest tenth's times


@dataclass(frozen=True)
class Latency:
    """One latency of the requests that have it: (measured, predicted) means and percentiles, and how requests fare.

    `median_error`: median over requests of |predicted / measured - 1|; `correlation`: of ranks, 1 for the same order.
    """

    requests: int
    mean: tuple[float, float]
    percentiles: Mapping[int, tuple[float, float]]
    median_error: float
    correlation: float | None


@dataclass(frozen=True)
class LogCheck:
    """A log against its replay; `explained` says in words where the differences lie."""

    trace: Trace
    report: Report
    latencies: Mapping[str, Latency]
    output_tokens_per_s: tuple[float, float]
    explained: tuple[str, ...]


def check_log(trace: Trace, **options: Any) -> LogCheck:
    """Replay a trace that has measured latencies; `options` are those of `kvsim.run`.

    Raises:
        UserError: nothing was measured.
    """
    if trace.measured is None or not np.isfinite([*trace.measured.e2e_s, *trace.measured.ttft_s]).any():
        raise UserError(
            f"{trace.name}: has no measured latencies; a result of `vllm bench serve --save-result "
            "--save-detailed` has, or name the columns of a CSV: --map arrival=..,input=..,output=..,first=..,done=.."
        )
    loop = None if trace.sessions else "open"
    report = run(trace, loop=loop, **options)
    columns, sent_s = report.simulation.columns, report.simulation.columns.arrival_s
    measured = {"ttft": trace.measured.ttft_s, "e2e": trace.measured.e2e_s}
    predicted = {"ttft": columns.first_token_s - sent_s, "e2e": columns.done_s - sent_s}
    rest = np.maximum(trace.output_tokens - 1, 1)
    for times in (measured, predicted):
        times["tpot"] = np.where(trace.output_tokens > 1, (times["e2e"] - times["ttft"]) / rest, np.nan)
    latencies = {}
    for name in ("ttft", "tpot", "e2e"):
        if (found := _latency(measured[name], predicted[name])) is not None:
            latencies[name] = found
    return LogCheck(
        trace,
        report,
        latencies,
        (_rate(trace, sent_s, measured["e2e"]), _rate(trace, sent_s, predicted["e2e"])),
        tuple(_explained(latencies, measured, predicted, report)),
    )


def _latency(measured: Floats, predicted: Floats) -> Latency | None:
    both = np.isfinite(measured) & np.isfinite(predicted) & (measured > 0)
    if not both.any():
        return None
    one, other = measured[both], predicted[both]
    ranks = {rank: (float(np.percentile(one, rank)), float(np.percentile(other, rank))) for rank in RANKS}
    return Latency(
        requests=len(one),
        mean=(float(one.mean()), float(other.mean())),
        percentiles=ranks,
        median_error=float(np.median(np.abs(other / one - 1))),
        correlation=_rank_correlation(one, other),
    )


def _rank_correlation(one: Floats, other: Floats) -> float | None:
    """Spearman's, ties in order of appearance; None where either does not vary."""
    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    first, second = (np.argsort(np.argsort(values, kind="stable")) for values in (one, other))
    return float(np.corrcoef(first, second)[0, 1])


def _rate(trace: Trace, sent_s: Floats, e2e_s: Floats) -> float:
    """Output tokens a second from the first arrival to the last token, of requests whose end is known."""
    known = np.isfinite(e2e_s) & np.isfinite(sent_s)
    if not known.any():
        return float("nan")
    span_s = float((sent_s + e2e_s)[known].max() - sent_s[known].min())
    return float(trace.output_tokens[known].sum() / span_s) if span_s else float("nan")


def _explained(
    latencies: Mapping[str, Latency], measured: Mapping[str, Floats], predicted: Mapping[str, Floats], report: Report
) -> list[str]:
    """What the differences are made of: steps, what comes before the first one, and queueing."""
    found = []
    if "tpot" in latencies:
        one, other = latencies["tpot"].percentiles[50]
        found.append(f"steps: the median time per output token is predicted {_signed(other / one - 1)}")
    if "ttft" in latencies:
        quick = [float(np.nanpercentile(times["ttft"], 10)) for times in (measured, predicted)]
        found.append(
            f"before and at the first step: the quickest tenth's first token came within {quick[0] * 1e3:.3g} ms, "
            f"predicted {quick[1] * 1e3:.3g} ms; api_s and the time of a prompt's own step are all there is in it"
        )
        waits = [
            float(np.nanmean(times["ttft"] > ALONE * at))
            for times, at in zip((measured, predicted), quick, strict=True)
        ]
        found.append(
            f"queueing: {waits[0]:.0%} of the requests took more than {ALONE} times as long to their first token, "
            f"predicted {waits[1]:.0%}"
        )
    trace, figures = report.simulation.trace, report.figures
    if trace.blocks is None and report.simulation.serving.prefix_caching:
        found.append(
            "reuse: the log names no shared prefixes, so none is predicted; an engine that had hits was quicker"
        )
    if figures["preemptions"]:
        found.append(f"memory: {figures['preemptions']} preemptions are predicted")
    if figures["requests"]["rejected"]:
        found.append(f"memory: {figures['requests']['rejected']} requests are predicted to be rejected")
    found.append(
        f"kernel times: {figures['provenance']['rates']}; expect +-{figures['provenance']['expected_error']:.0%}"
    )
    return found


def _signed(share: float) -> str:
    return f"{share:+.1%}".replace("%", " %")


def read_log(path: Path, **options: Any) -> Trace:
    """The trace of a log; `options` as `kvsim.traces.read.read_trace` takes them."""
    from kvsim.traces.read import read_trace

    return read_trace(path, **options)
