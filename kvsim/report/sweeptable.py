"""A sweep as text: a line for each point with what is varied and the figures that most decisions hang on."""

from typing import Any

from kvsim.report.words import digits, seconds
from kvsim.study.sweeping import Sweep

_MOST = 60
_FIGURES = ("ttft p50", "ttft p99", "tpot p99", "tokens/s", "$/Mtok", "preempted")


def render(sweep: Sweep) -> str:
    """The first points; a point that failed has its reason instead of figures."""
    results = sweep.results
    points = results["points"][:_MOST]
    varied = results["varied"]
    head = ["point", *varied]
    names = [[str(point["point"]), *(_text(point["varied"][key]) for key in varied)] for point in points]
    wide = [max(len(line[i]) for line in (head, *names)) for i in range(len(head))]
    done = len(results["points"]) - len(sweep.failed)
    lines = [
        f"{results['study']}: {done:,} of {len(results['points']):,} points done, {sweep.ran:,} of them run now",
        "",
    ]
    lines.append(_line(head, wide) + "".join(f"{name:>11}" for name in _FIGURES))
    for point, name in zip(points, names, strict=True):
        shown = (
            f"  {point['error']}" if "error" in point else "".join(f"{text:>11}" for text in _figures(point["figures"]))
        )
        lines.append(_line(name, wide) + shown)
    if more := len(results["points"]) - len(points):
        lines.append(f"... {more:,} more in {sweep.folder}/results.csv")
    return "\n".join(line.rstrip() for line in lines)


def _line(cells: list[str], wide: list[int]) -> str:
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, wide, strict=True))


def _figures(figures: dict[str, Any]) -> list[str]:
    ttft_s, tpot_s = figures["ttft_s"], figures["tpot_s"]
    return [
        seconds(ttft_s["p50"]),
        seconds(ttft_s["p99"]),
        seconds(tpot_s["p99"]),
        digits(figures["output_tokens_per_s"]),
        digits(figures["usd_per_mtok"]),
        f"{figures['preemptions']:,}",
    ]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
