"""Predicted over measured seconds of every held-out row, a panel a class of Ops, as a PNG."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from kvsim.report.plots import BLACK
from kvsim.report.words import percent, seconds
from kvsim.validate.compare import Comparison

_SIZE_IN, _DPI, _POINTS = (12.0, 5.2), 110, 3000  # of a row of two panels, with their legends below
_RANGE = (0.4, 2.5)
_FEW = 150  # rows that are drawn larger


def scatter(compared: Sequence[Comparison], path: Path) -> None:
    """Draw the rows that are at hand; equal rows give equal bytes."""
    classes = list(dict.fromkeys(one.fitted.op for one in compared if one.rows is not None))
    rows = -(-len(classes) // 2)
    figure = Figure(figsize=(_SIZE_IN[0], _SIZE_IN[1] * rows), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    for place, op in enumerate(classes, 1):
        axes = figure.add_subplot(rows, 2, place)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_ylim(*_RANGE)
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_yticks([0.5, 0.8, 1.0, 1.25, 2.0], labels=["0.5", "0.8", "1", "1.25", "2"])
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: seconds(value)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(color="#e6e6e6", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.axhline(1, color=BLACK, linewidth=1)
        axes.set_title(op.replace("_", " "), loc="left", fontsize=11, fontweight="bold", color=BLACK)
        axes.set_xlabel("measured")
        axes.set_ylabel("predicted / measured")
        shown = [one for one in compared if one.fitted.op == op and one.rows is not None]
        for number, one in enumerate(shown):
            colour = colormaps["tab10"](number % 10)
            assert one.rows is not None and one.predicted_s is not None
            some = np.random.default_rng(0).permutation(len(one.rows))[:_POINTS]
            label = f"{one.name} {one.fitted.dtype}, {one.fitted.kernel}: {percent(one.residuals.median)} in the median"
            ratio = np.clip(one.predicted_s[some] / one.rows.seconds[some], *_RANGE)
            size, alpha = (6, 0.35) if len(one.rows) > _FEW else (18, 0.7)
            axes.scatter(
                one.rows.seconds[some], ratio, s=size, alpha=alpha, color=colour, label=label, linewidths=0,
                rasterized=True,
            )  # fmt: skip
        legend = axes.legend(fontsize=7.5, frameon=False, loc="upper left", bbox_to_anchor=(0.0, -0.16))
        for handle in legend.legend_handles:
            handle.set_sizes([36])  # type: ignore[union-attr]
    figure.savefig(path, metadata={"Software": None})
