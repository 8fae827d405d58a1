"""Plots of a trace: arrivals over time, lengths, how far apart uses of a block are. Equal traces give equal bytes."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter

from kvsim.errors import UserError
from kvsim.report.words import count, digits, seconds
from kvsim.traces.reuse_distance import Reuse, reuse
from kvsim.traces.trace import Floats, Ints, Trace
from kvsim.traces.write import replacing

BLUE, ORANGE = "#0072B2", "#E69F00"  # Okabe and Ito's palette
_GREY, _BLACK = "#8a8a8a", "#333333"
_SIZE_IN, _DPI = (8.0, 4.5), 120
_BINS = 240
_CURVE_POINTS = 1000


def draw(trace: Trace, folder: Path) -> list[str]:
    """Write PNG files into `folder`, which is made if need be, and say which.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made as a folder: {error.strerror or error}") from None
    pictures: dict[str, list[Callable[[Axes], str]]] = {
        "arrivals.png": [lambda axes: _arrivals(axes, trace)],
        "lengths.png": [lambda axes: _lengths(axes, trace)],
    }
    found = reuse(trace)
    if found is not None and len(found.interval_s):
        pictures["reuse.png"] = [lambda axes: _intervals(axes, found), lambda axes: _distances(axes, found)]
    for name, fills in pictures.items():
        _draw(folder / name, trace.name, fills)
    return list(pictures)


def _draw(path: Path, name: str, fills: list[Callable[[Axes], str]]) -> None:
    """A figure of one plot or two side by side; a `fill` returns its title. Built without pyplot's global state."""
    figure = Figure(figsize=_SIZE_IN, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, fill in zip(figure.subplots(1, len(fills), squeeze=False)[0], fills, strict=True):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#e6e6e6", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.set_title(
            fill(axes), loc="left", fontsize=12 if len(fills) == 1 else 10, fontweight="bold", color=_BLACK, pad=24
        )
        below: Mapping[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "xytext": (0, 8)}
        shown = name if len(name) <= 110 // len(fills) else name[: 110 // len(fills) - 3] + "..."
        axes.annotate(shown.replace("$", r"\$"), (0, 1), fontsize=9, color=_GREY, **below)
    with replacing(path) as file:
        figure.savefig(file, format="png", metadata={"Software": None})


def _arrivals(axes: Axes, trace: Trace) -> str:
    length_s = float(trace.arrival_s[-1])
    factor, unit = (1.0, "s") if length_s < 600 else (60.0, "min") if length_s < 4 * 3600 else (3600.0, "h")
    width_s = max(length_s / _BINS, 1e-6)
    counts, edges = np.histogram(trace.arrival_s, bins=_BINS, range=(0, width_s * _BINS))
    rates = counts / width_s
    axes.stairs(rates, edges / factor, color=BLUE, fill=True, alpha=0.25)
    axes.stairs(rates, edges / factor, color=BLUE, linewidth=1.0)
    mean = len(trace) / (width_s * _BINS)
    axes.axhline(mean, color=ORANGE, linewidth=1.6, linestyle="--", label=f"mean {digits(mean)} requests/s")
    axes.set_xlabel(f"time since the first arrival ({unit})")
    axes.set_ylabel(f"requests/s, in steps of {seconds(width_s)}")
    axes.set_xlim(0, width_s * _BINS / factor)
    axes.set_ylim(bottom=0)
    _legend(axes)
    return f"Up to {digits(float(rates.max()) / mean)} times the mean rate of {digits(mean)} requests/s arrive"


def _lengths(axes: Axes, trace: Trace) -> str:
    top = max(int(trace.prompt_tokens.max()), int(trace.output_tokens.max()), 2)
    edges = np.unique(np.rint(np.geomspace(1, top + 1, 61)))
    columns: tuple[tuple[str, Ints, str], ...] = (
        ("prompt", trace.prompt_tokens, BLUE),
        ("output", trace.output_tokens, ORANGE),
    )
    for name, tokens, colour in columns:
        shares = np.histogram(tokens, bins=edges)[0] / len(tokens)
        median, late = np.percentile(tokens, (50, 99))
        label = f"{name}: p50 {digits(float(median))}, p99 {digits(float(late))}, mean {digits(float(tokens.mean()))}"
        axes.stairs(shares, edges, color=colour, fill=True, alpha=0.25)
        axes.stairs(shares, edges, color=colour, linewidth=1.4, label=label)
    _log_axis(axes, lambda value: f"{value:,.0f}")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel("tokens (log scale)")
    axes.set_ylabel("share of requests, by bin")
    axes.set_ylim(bottom=0)
    _legend(axes)
    prompt, output = (digits(float(np.median(tokens))) for _, tokens, _ in columns)
    return f"Half of all prompts exceed {prompt} tokens, half of all outputs {output}"


def _intervals(axes: Axes, found: Reuse) -> str:
    median, late = _curve(axes, found.interval_s, BLUE)
    axes.set_xlabel("seconds between two uses of a block (log scale)")
    axes.set_ylabel("share of re-uses")
    _log_axis(axes, seconds)
    return f"p50 {seconds(median)}, p90 {seconds(late)} until used again"


def _distances(axes: Axes, found: Reuse) -> str:
    median, late = _curve(axes, found.distance_tokens, ORANGE)
    axes.set_xlabel("tokens of other blocks in between (log scale)")
    _log_axis(axes, count)
    return f"p50 {count(median)}, p90 {count(late)} tokens of cache"


def _curve(axes: Axes, values: Floats, colour: str) -> tuple[float, float]:
    """Draws a distribution; its median and 90th percentile."""
    positive = values[values > 0]
    lowest = float(positive.min()) if len(positive) else 1.0
    shares = np.linspace(0, 1, _CURVE_POINTS)
    axes.plot(np.maximum(np.quantile(values, shares), lowest), shares, color=colour, linewidth=2)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_ylim(0, 1.01)
    median, late = np.quantile(values, (0.5, 0.9))
    return float(median), float(late)


def _log_axis(axes: Axes, words: Callable[[float], str]) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(numticks=7))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: words(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _legend(axes: Axes) -> None:
    place: Mapping[str, Any] = {"loc": "upper left", "bbox_to_anchor": (0.0, -0.14), "ncols": 2}
    axes.legend(frameon=False, fontsize=9, **place)
