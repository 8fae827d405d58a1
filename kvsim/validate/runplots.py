"""Predicted over executed seconds of steps and replays, as PNGs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from kvsim.errors import UserError
from kvsim.report.plots import BLACK, BLUE, GREEN, ORANGE, RED
from kvsim.report.words import percent, seconds

_COLOURS = (BLUE, ORANGE, GREEN, RED, BLACK)
_RANGE, _POINTS = (0.6, 1.67), 3000
Points = Mapping[str, tuple[Sequence[float], Sequence[float]]]  # label -> (executed, predicted) seconds


def draw(what: str, hw: str | None, folder: Path) -> Path:
    """Draw steps or replays into `folder`; the file.

    Raises:
        UserError: a part that has no plot.
    """
    panels = {"steps": _steps, "replays": _replays, "engines": _engines}.get(what)
    if panels is None:
        raise UserError(f"validate {what}: has no plot; --out is for steps, replays and engines")
    path = folder / f"validation-{what}.png"
    scatter(panels(hw), path)
    return path


def _steps(hw: str | None) -> dict[str, Points]:
    """A panel a chip, a colour a phase."""
    from kvsim.validate.stepcheck import step_checks

    panels: dict[str, Points] = {}
    for chip, rows in step_checks(hw).items():
        kept = [one for one in rows if not one.row.paced_by_host]
        phases = dict.fromkeys(one.row.phase for one in kept)
        panels[chip] = {
            phase: (
                [one.row.seconds for one in kept if one.row.phase == phase],
                [one.seconds for one in kept if one.row.phase == phase],
            )
            for phase in phases
        }
    return panels


def _replays(hw: str | None) -> dict[str, Points]:
    """A panel a replay: its steps in lockstep."""
    from kvsim.validate.replaycheck import checks
    from kvsim.validate.stepcheck import chip_of

    found = checks(None if hw is None else chip_of(hw))
    panels: dict[str, Points] = {}
    for one in found:
        lock = one.lockstep
        kinds = {"decode": ~lock.reads_prompts, "with prompts": lock.reads_prompts}
        panels[f"{one.replay.chip} {one.replay.name}"] = {
            kind: (lock.executed_s[these].tolist(), lock.predicted_s[these].tolist())
            for kind, these in kinds.items()
            if these.any()
        }
    return panels


def _engines(hw: str | None) -> dict[str, Points]:
    """Mean latencies of published runs."""
    from kvsim.validate.engines import LATENCIES, engine_checks

    found = list(engine_checks(hw=hw))
    label = {"ttft_s": "first token", "e2e_s": "end to end"}
    return {
        engine: {
            label[name]: (
                [one.run.measured[name]["mean"] for one in found if one.engine == engine],
                [one.predicted[name]["mean"] for one in found if one.engine == engine],
            )
            for name in LATENCIES
        }
        for engine in dict.fromkeys(one.engine for one in found)
    }


def scatter(panels: Mapping[str, Points], path: Path) -> None:
    """One panel each; equal points give equal bytes."""
    columns = min(3, max(1, len(panels)))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.4 * columns + 1, 3.4 * rows), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    for place, (title, points) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(rows, columns, place)
        _frame(axes, title)
        for colour, (label, (executed, predicted)) in zip(_COLOURS, points.items(), strict=False):
            one, other = np.asarray(executed), np.asarray(predicted)
            some = np.random.default_rng(0).permutation(len(one))[:_POINTS]
            ratio = np.clip(other[some] / one[some], *_RANGE)
            named = f"{label}: median {percent(float(np.median(np.abs(other / one - 1))))}"
            size = 30 if len(one) < 50 else 6
            axes.scatter(one[some], ratio, s=size, alpha=0.5, color=colour, label=named, linewidths=0, rasterized=True)
        axes.legend(fontsize=8, frameon=False, loc="upper right")
    figure.savefig(path, metadata={"Software": None})


def _frame(axes: Axes, title: str) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(*_RANGE)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_yticks([0.67, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5], labels=["0.67", "0.8", "0.9", "1", "1.1", "1.25", "1.5"])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: seconds(value)))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
    axes.grid(color="#e6e6e6", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.axhline(1, color=BLACK, linewidth=1)
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold", color=BLACK)
    axes.set_xlabel("measured")
    axes.set_ylabel("predicted / measured")
