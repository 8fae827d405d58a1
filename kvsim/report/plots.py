"""A report's plots: latency CDFs, cache memory over time, batch and queue over time. Equal runs give equal bytes."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter

from kvsim.replay import Report
from kvsim.report.curves import POINTS, Curves
from kvsim.report.record import Record
from kvsim.report.words import amount, percent, round_seconds, seconds

# Okabe and Ito's palette, told apart with every common colour blindness.
BLUE, ORANGE, GREEN, RED, BLACK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#333333"
_GREY = "#8a8a8a"
_SIZE_IN, _DPI = (8.0, 4.5), 120


def draw(report: Report, record: Record, folder: Path) -> None:
    """Write latency.png, memory.png and batch.png into `folder`; a run in which nothing ran has only the first."""
    _draw(folder / "latency.png", report, lambda axes: _latency(axes, report))
    if record.tracks:
        _draw(folder / "memory.png", report, lambda axes: _memory(axes, report, record))
        _draw(folder / "batch.png", report, lambda axes: _batch(axes, report, record))


def _draw(path: Path, report: Report, fill: Callable[[Axes], str]) -> None:
    """One figure, whose `fill` returns its title; built without pyplot, whose state is global."""
    figure = Figure(figsize=_SIZE_IN, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_title(fill(axes), loc="left", fontsize=12, fontweight="bold", color=BLACK, pad=24)
    names = report.names
    about = f"{names['trace']} on {names['hw']}, {names['model']}, policy {names['policy']}, serving {names['serving']}"
    about = about if len(about) < 110 else about[:107] + "..."
    below: Mapping[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "xytext": (0, 8)}
    axes.annotate(about, (0, 1), fontsize=9, color=_GREY, **below)
    figure.savefig(path, metadata={"Software": None})


def _latency(axes: Axes, report: Report) -> str:
    columns = report.simulation.columns
    done = np.isfinite(columns.done_s)
    several = done & (columns.output_tokens > 1)
    decode_s = (columns.done_s - columns.first_token_s)[several] / (columns.output_tokens[several] - 1)
    curves = (
        ("time per output token", decode_s, GREEN, "-"),
        ("in the queue", (columns.scheduled_s - columns.arrival_s)[done], _GREY, ":"),
        ("time to first token", (columns.first_token_s - columns.arrival_s)[done], BLUE, "-"),
        ("end to end", (columns.done_s - columns.arrival_s)[done], ORANGE, "--"),
    )
    for name, values, colour, dashes in curves:
        if not len(values):
            continue
        shares = np.linspace(0, 1, min(4 * POINTS, max(2, len(values))))
        times = np.maximum(np.quantile(values, shares), 1e-6)
        median, late = np.quantile(values, (0.5, 0.99))
        label = f"{name}: p50 {seconds(float(median))}, p99 {seconds(float(late))}"
        axes.plot(times, shares, color=colour, linestyle=dashes, linewidth=2, label=label)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(numticks=12))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: round_seconds(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_ylim(0, 1.01)
    axes.axhline(0.99, color=_GREY, linewidth=0.8)
    axes.annotate("p99", (1.0, 0.99), xycoords=("axes fraction", "data"), fontsize=8, color=_GREY, va="top", ha="right")
    axes.set_xlabel("latency (log scale)")
    axes.set_ylabel("share of completed requests")
    if not done.any():
        return "No request was completed"
    _legend(axes)
    half, late = (seconds(float(t)) for t in np.quantile(curves[2][1], (0.5, 0.99)))
    return f"Half of all requests see their first token within {half}, 99 % within {late}"


def _memory(axes: Axes, report: Report, record: Record) -> str:
    simulation, home = report.simulation, report.simulation.layout.policy.placement.home
    where, room = "host DRAM" if home == "dram" else "HBM", simulation.capacity.pool_bytes[home]
    curves = Curves(record, "home")
    used, peak = curves.values / 1e9, float(curves.values.max())
    axes.plot(curves.times, used.mean(axis=0), color=BLUE, linewidth=1.6, label="in use")
    low = used.min(axis=0) if len(used) > 1 else 0.0
    axes.fill_between(curves.times, low, used.max(axis=0), color=BLUE, alpha=0.18, linewidth=0)
    if peak > 0.2 * room:
        label = f"room for the cache, {amount(room)}"
        axes.axhline(room / 1e9, color=RED, linewidth=1.6, linestyle="--", label=label)
        axes.set_ylim(0, 1.08 * room / 1e9)
    else:  # a line far above would flatten the curve
        axes.set_ylim(0, 1.15 * max(peak, 1) / 1e9)
        axes.plot([], [], color=RED, linestyle="--", label=f"room for the cache, {amount(room)}: far above")
    axes.set_ylabel(f"KV cache in {where}, one chip (GB){curves.whose}")
    _finish(axes, curves)
    return f"The cache fills at most {percent(peak / room)} of its room in {where}: {amount(peak)} of {amount(room)}"


def _batch(axes: Axes, report: Report, record: Record) -> str:
    most = {}
    for name, field, colour in (("waiting", "waiting_s", ORANGE), ("running", "running_s", BLUE)):
        curves = Curves(record, field)
        most[name] = round(float(curves.values.max()))
        axes.plot(curves.times, curves.values.mean(axis=0), color=colour, linewidth=1.6, label=name)
        if len(curves.values) > 1:
            band = (curves.values.min(axis=0), curves.values.max(axis=0))
            axes.fill_between(curves.times, *band, color=colour, alpha=0.18, linewidth=0)
    limit = report.simulation.serving.max_num_seqs
    if report.figures["max_running"] > 0.5 * limit:
        axes.axhline(limit, color=RED, linewidth=1.4, linestyle="--", label=f"max_num_seqs = {limit}")
    axes.set_ylabel(f"requests{curves.whose}")
    axes.set_ylim(bottom=0)
    _finish(axes, curves)
    who = "" if len(curves.values) == 1 else " of a replica"
    return f"Up to {report.figures['max_running']:,} requests{who} run at once, up to {most['waiting']:,} wait"


def _finish(axes: Axes, curves: Curves) -> None:
    axes.set_xlabel(f"time since the first arrival ({curves.unit})")
    axes.set_xlim(left=0)
    _legend(axes)


def _legend(axes: Axes) -> None:
    place: Mapping[str, Any] = {"loc": "upper left", "bbox_to_anchor": (0.0, -0.14), "ncols": 2}
    axes.legend(frameon=False, fontsize=9, **place)
