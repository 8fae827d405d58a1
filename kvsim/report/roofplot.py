"""A roofline as PNG. Equal figures give equal bytes."""

import math
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter

from kvsim.cost.op import GPU
from kvsim.report.roofpicture import (
    GROUPS,
    LANE_COLOURS,
    LANE_DASHES,
    Panel,
    Picture,
    picture,
    roof_line,
    roof_names,
    tick,
    ticks,
)
from kvsim.report.words import count
from kvsim.roofs import Dot, Roofline
from kvsim.traces.write import replacing

_GREY = "#767676"
_SHAPES = {"linear": "o", "attention": "s", "step": "D"}
_COLUMNS, _PANEL_IN, _DPI = 3, (5.4, 4.6), 120


def draw(found: Roofline, path: Path) -> None:
    """Write a PNG: a panel for each policy, three in a row.

    Raises:
        UserError: it cannot be written.
    """
    view = picture(found)
    across = min(len(view.panels), _COLUMNS)
    down = -(-len(view.panels) // across)
    tall = _PANEL_IN[1] * down + 0.9
    figure = Figure(figsize=(max(_PANEL_IN[0] * across, 7.2), tall), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    title = f"{found.model} on {found.hw}, context {found.context:,}: Ops under the roofs of one chip"
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold", color="#333333")
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    slanted = []
    for place, axes in enumerate(grid.flat):
        if place >= len(view.panels):
            axes.set_visible(False)
            continue
        slanted += _panel(axes, view.panels[place], view, found)
        if place % across == 0:
            axes.set_ylabel("attained FLOP/s")
        if place >= len(view.panels) - across:
            axes.set_xlabel("arithmetic intensity (FLOPs a byte)")
            axes.xaxis.set_tick_params(labelbottom=True)
    where: Any = {"loc": "outside lower left", "ncols": 5 if across > 1 else 3, "frameon": False, "fontsize": 9}
    figure.legend(handles=_keys(view), **where)
    figure.canvas.draw()  # the layout is known from here on, and with it the slope of a bandwidth
    for text, axes in slanted:
        box = axes.get_window_extent()
        wide, high = (math.log10(limits[1] / limits[0]) for limits in (view.intensities, view.rates))
        text.set_rotation(math.degrees(math.atan2(box.height / high, box.width / wide)))
    with replacing(path) as file:
        figure.savefig(file, format="png", metadata={"Software": None})


def _panel(axes: Axes, panel: Panel, view: Picture, found: Roofline) -> list[tuple[Any, Axes]]:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(*view.intensities)
    axes.set_ylim(*view.rates)
    for axis, limits in ((axes.xaxis, view.intensities), (axes.yaxis, view.rates)):
        axis.set_major_locator(FixedLocator(ticks(limits)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
    axes.grid(color="#e9e9e9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(f"policy {panel.policy}", loc="left", fontsize=10)
    texts = _roofs(axes, view, found)
    for dot in panel.dots:
        colour = _colour(dot)
        face = colour if dot.phase == "prefill" else "white"
        axes.plot(
            dot.intensity or 0.0, dot.flops_per_s, _SHAPES[dot.group], color=colour, markerfacecolor=face,
            markersize=5 if dot.group == "step" else 6, markeredgewidth=1.3,
        )  # fmt: skip
    for label in panel.labels:
        at: Any = {"xytext": (5, -9), "textcoords": "offset points"}
        axes.annotate(label.text, (label.intensity, label.flops_per_s), fontsize=7.5, color="#444444", **at)
    return texts


def _roofs(axes: Axes, view: Picture, found: Roofline) -> list[tuple[Any, Axes]]:
    """Peaks flat, bandwidths rising to the highest peak; their names along them."""
    texts = []
    for dtype, peak in sorted(found.peaks.items(), key=lambda pair: pair[1]):
        text = f"{dtype} {count(peak, 'FLOP/s')}"
        axes.annotate(text, (view.intensities[0], peak), (3, 3), textcoords="offset points", fontsize=8, color=_GREY)
        axes.axhline(peak, color=_GREY, linewidth=1.2)
    for label, roof in roof_names(found):
        corners = roof_line(roof.bytes_per_s, max(found.peaks.values()), view)
        dashes: Any = {"dashes": LANE_DASHES[roof.lane]} if LANE_DASHES[roof.lane] else {}
        axes.plot(*zip(*corners[:2], strict=True), color=LANE_COLOURS[roof.lane], linewidth=1.4, **dashes)
        (left, low), (ridge, top) = corners[:2]
        along = 0.02 if roof.lane == GPU else 0.45  # steps bound by a link lie low on its roof
        x, y = left * (ridge / left) ** along, low * (top / low) ** along
        place: Any = {"rotation_mode": "anchor", "fontsize": 8, "color": LANE_COLOURS[roof.lane], "va": "bottom"}
        texts.append((axes.text(x, y * 1.15, label, **place), axes))
    return texts


def _colour(dot: Dot) -> str:
    return LANE_COLOURS[dot.lane] if dot.group == "step" else GROUPS[dot.group][1]


def _keys(view: Picture) -> list[Line2D]:
    """The legend: a key for each group, and for what fill and numbers say."""
    groups = {dot.group for panel in view.panels for dot in panel.dots}
    plain: Any = {"linestyle": "", "markeredgewidth": 1.3, "markersize": 6}
    keys = [
        Line2D([], [], marker=_SHAPES[group], color=colour, label=name, **plain)
        for group, (name, colour) in GROUPS.items()
        if group in groups
    ]
    keys.append(Line2D([], [], marker="o", color=_GREY, label="filled: prefill", **plain))
    keys.append(
        Line2D([], [], marker="o", color=_GREY, markerfacecolor="white", label="open: decode, its batch", **plain)
    )
    return keys
