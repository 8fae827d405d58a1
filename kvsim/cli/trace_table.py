"""The table of `kvsim trace stats`."""

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table

from kvsim.report.words import digits

_WIDTH = 100  # in a file or pipe
_SHOWN = ("mean", "p10", "p50", "p90", "p95", "p99", "max", "total")


def show(figures: dict[str, Any]) -> None:
    """Print the figures of `stats` on stdout."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH
    console.print(figures["name"], style="bold", markup=False)
    facts = Table(box=None, show_header=False, pad_edge=False)
    for label, value in _facts(figures):
        facts.add_row(label, value)
    console.print(facts)
    lengths = Table(box=None, pad_edge=False, header_style="dim")
    lengths.add_column("tokens")
    for key in _SHOWN:
        lengths.add_column(key, justify="right")
    for label in ("prompt", "output"):
        row = figures[f"{label}_tokens"]
        lengths.add_row(label, *(f"{row[key]:,.0f}" if row[key] >= 100 else f"{row[key]:,.1f}" for key in _SHOWN))
    console.print(lengths)
    if "cache" in figures:
        from kvsim.cli import hit_table

        console.print(hit_table.table(figures))
        for why in figures["cache"]["left_out"]:
            console.print(f"- left out: {why}", markup=False)
    for note in figures["notes"]:
        console.print(f"- {note}", markup=False)


def _facts(figures: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "requests", f"{figures['requests']:,}"
    yield "duration", f"{figures['duration_s']:,.1f} s"
    yield "rate", _number(figures["rate_per_s"], "{:.4g} requests/s")
    yield "inter-arrival CV", _number(figures["interarrival_cv"], "{:.2f}")
    yield from _bursts(figures)
    tick = figures["tick_s"]
    clock = "finer than 1 us, or unknown" if tick is None else f"{tick:g} s"
    yield "clock tick", f"{clock}; {figures['zero_gap_share']:.1%} of requests arrive with the one before"
    dropped = figures["dropped"]
    yield "rows dropped", ", ".join(f"{rows:,} ({why})" for why, rows in dropped.items()) or "none"
    if figures["sessions"]:
        yield from _sessions(figures["sessions"])
    if figures["block_tokens"] is None:
        yield "prefix blocks", "none: nothing is known of shared prefixes"
        return
    yield (
        "prefix blocks",
        f"{figures['blocks']:,} of {figures['block_tokens']} tokens, {figures['unique_blocks']:,} unique",
    )
    hits = (figures["hit_ratio_tokens"], figures["hit_ratio_blocks"])
    yield "infinite-cache hit", "{:.1%} of prompt tokens, {:.1%} of blocks".format(*hits)
    if reuse := figures["reuse"]:
        yield "block reuse after", _spread(reuse["interval_s"], " s")
        yield "reuse distance", _spread(reuse["distance_tokens"], " tokens of other blocks")


def _bursts(figures: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for unit in ("second", "minute"):
        counts = figures[f"per_{unit}"]
        if counts["dispersion"] is not None:
            yield (
                f"requests a {unit}",
                f"at most {counts['most']:,}, {counts['peak_to_mean']:.3g} times the mean; "
                f"variance / mean {counts['dispersion']:.3g}",
            )


def _sessions(figures: dict[str, Any]) -> Iterator[tuple[str, str]]:
    joins = f"; {figures['joins']:,} requests wait for several" if figures["joins"] else ""
    yield "sessions", f"{figures['sessions']:,} of {_spread(figures['turns'], ' requests')}{joins}"
    if figures["gap_s"]:
        yield "pauses in sessions", _spread(figures["gap_s"], " s")
    if figures["open_at_once"]:
        yield "sessions at once", "{mean:.3g} in the mean, {most:,.0f} at most".format(**figures["open_at_once"])


def _spread(figures: dict[str, float], unit: str) -> str:
    """p10, median and p90."""
    return ", ".join(f"{key} {digits(figures[key])}" for key in ("p10", "p50", "p90")) + unit


def _number(value: float | None, form: str) -> str:
    return "undefined" if value is None else form.format(value)
