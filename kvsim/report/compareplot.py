"""The plot of a comparison: cost against latency, the area of a mark being memory. Equal figures give equal bytes."""

from typing import IO

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from kvsim.decide.compare import Comparison, Row
from kvsim.report.plots import BLACK, BLUE, GREEN, ORANGE, RED
from kvsim.report.words import amount, digits, seconds

_COLOURS = (BLUE, ORANGE, GREEN, RED, "#CC79A7", "#56B4E9", "#F0E442", BLACK)
_MARKS = "osD^vPX*<>hd"
_GREY = "#6b6b6b"
_LARGEST = 420.0  # of a mark's area, in square points
_WIDE = 8  # times between least and most from which an axis is logarithmic


def draw(found: Comparison, file: IO[bytes]) -> None:
    """Write the PNG."""
    figure = Figure(figsize=(9.0, 5.4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    rows = [row for row in found.rows if row.latency_s is not None and row.usd_per_mtok is not None]
    axes.set_title(_title(rows), loc="left", fontsize=12, fontweight="bold", color=BLACK, pad=24)
    about = f"{found.trace}, {found.model}; area of a mark: HBM in use at most; dark outline: on the Pareto front"
    axes.annotate(
        about, (0, 1), xycoords="axes fraction", textcoords="offset points", xytext=(0, 8), fontsize=9, color=_GREY
    )
    axes.set_xlabel("USD per million output tokens")
    axes.set_ylabel(f"{found.latency.replace('_', ' ')} (log scale)")
    if rows:
        _points(axes, rows)
    figure.savefig(file, format="png", metadata={"Software": None})


def _title(rows: list[Row]) -> str:
    front = [row for row in rows if row.pareto]
    if not front:
        return "No system serves every request"
    return f"{len(front)} of {len(rows)} systems are on the Pareto front of cost, latency and memory"


def _points(axes: Axes, rows: list[Row]) -> None:
    machines, policies = (list(dict.fromkeys(getattr(row, name) for row in rows)) for name in ("hw", "policy"))
    presets = list(dict.fromkeys(row.serving for row in rows))
    most = max(row.memory_bytes or 0 for row in rows)
    for row in sorted(rows, key=lambda row: -(row.memory_bytes or 0)):
        colour = _COLOURS[machines.index(row.hw) % len(_COLOURS)]
        axes.scatter(
            row.usd_per_mtok or 0.0,
            row.latency_s or 0.0,
            s=max(30.0, _LARGEST * (row.memory_bytes or 0) / most),
            color=colour,
            marker=_MARKS[policies.index(row.policy) % len(_MARKS)],
            alpha=0.85 if row.pareto else 0.35,
            edgecolors=BLACK if row.pareto else colour,
            linewidths=1.4 if row.pareto else 0.5,
        )
        if len(presets) > 1 and row.pareto:
            axes.annotate(
                row.serving, (row.usd_per_mtok or 0.0, row.latency_s or 0.0), textcoords="offset points",
                xytext=(8, 6), fontsize=8, color=_GREY,
            )  # fmt: skip
    _scales(axes, rows)
    dots = [
        Line2D([], [], color=_COLOURS[at % len(_COLOURS)], marker="o", linestyle="", label=name)
        for at, name in enumerate(machines)
    ]
    marks = [
        Line2D([], [], color=_GREY, marker=_MARKS[at % len(_MARKS)], linestyle="", label=name)
        for at, name in enumerate(policies)
    ]
    sizes = [Line2D([], [], color="none", marker="", linestyle="", label=f"largest mark: {amount(most)}")]
    axes.legend(handles=[*dots, *marks, *sizes], loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)


def _scales(axes: Axes, rows: list[Row]) -> None:
    costs = [row.usd_per_mtok or 0.0 for row in rows]
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: seconds(value)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    if min(costs) > 0 and max(costs) > _WIDE * min(costs):
        axes.set_xscale("log")
        axes.set_xlabel("USD per million output tokens (log scale)")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_xlim(0, 1.08 * max(costs) or 1.0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"${digits(value)}" if value else "$0"))
    axes.margins(y=0.12)
