"""Runs the classes of measurements, each within its share of the time, and prints a short table last."""

import importlib
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from kernels_ref.calibrate.point import Measured, Point, Unable, spread
from kernels_ref.calibrate.rig import Rig
from kernels_ref.calibrate.table import Table

CLASSES = (
    "launches", "gemm", "attention_decode", "attention_prefill", "copies", "elementwise", "policies", "power",
    "grouped_gemm", "mixed", "ragged_decode", "collectives",
)  # fmt: skip
COMPILERS = 8  # threads that compile a class's kernels before any is timed: half of its time at most
FAILURES = 3  # messages shown of a class


def measure(rig: Rig, point: Point) -> Measured:
    """One row's figures."""
    if point.measure:
        found: Measured = point.measure(rig)
        return found
    assert point.build
    return rig.timer.time(point.build(rig))


def compile_all(rig: Rig, points: Sequence[Point], until_s: float) -> None:
    """Launches one point of each kernel variant from several threads, so that Triton compiles them side by side."""

    def once(point: Point) -> None:
        with suppress(Exception):  # said when it is timed
            if time.perf_counter() < until_s and point.build:
                with torch.cuda.stream(torch.cuda.Stream()):
                    point.build(rig).launch(0)
                    torch.cuda.current_stream().synchronize()

    with ThreadPoolExecutor(COMPILERS) as threads:
        list(threads.map(once, points))


def run_class(rig: Rig, module: Any, table: Table, budget_s: float, fine: bool) -> list[str]:
    """Measures a class's points until its time is up; returns what could not be measured, and why."""
    begun = time.perf_counter()
    name = module.__name__.rpartition(".")[2]
    points = [point for point in spread(module.points(rig, fine)) if point.key not in table.done]
    variants = {module.variant(point): point for point in points} if hasattr(module, "variant") else {}
    if variants and rig.device == "cuda":
        compile_all(rig, list(variants.values()), begun + budget_s / 2)
    refused: dict[str, int] = {}
    left = 0
    for number, point in enumerate(points):
        if time.perf_counter() - begun > budget_s:
            left = len(points) - number
            break
        try:
            table.add(point, measure(rig, point))
        except Unable as reason:
            refused[str(reason)] = refused.get(str(reason), 0) + 1
        except Exception as failure:  # one kernel must not cost the others their rows
            text = f"{point.cells.get('kernel', '')} {type(failure).__name__}: {failure}".split("\n")[0][:200]
            refused[text] = refused.get(text, 0) + 1
            with suppress(Exception):
                torch.cuda.synchronize()
        if number % 32 == 0 and rig.device == "cuda":
            torch.cuda.empty_cache()
    print(f"{name}: {len(table.done)} rows in {time.perf_counter() - begun:.1f} s", file=sys.stderr, flush=True)
    said = [f"{name}: {count} not measured: {why}" for why, count in list(refused.items())[:FAILURES]]
    said += [f"{name}: {len(refused) - FAILURES} more kinds of failure"] if len(refused) > FAILURES else []
    return said + ([f"{name}: {left} points left when its {budget_s:.0f} s were over"] if left else [])


def run(rig: Rig, out: Path, names: Sequence[str], fine: bool, origin: dict[str, str], scale: float = 1.0) -> list[str]:
    """Measures the classes `names` into `out`, a CSV each; returns the lines of the table that is shown last.

    Raises ValueError where `out` holds another chip's rows.
    """
    out.mkdir(parents=True, exist_ok=True)
    lines, said = [f"{'class':<20}{'rows':>6}{'noise: median':>15}{'p90':>8}"], []
    for name in names:
        module = importlib.import_module(f"kernels_ref.calibrate.{name}")
        table = Table(out / f"{name}.csv", module.COLUMNS, getattr(module, "EXTRA", ()), origin)
        try:
            said += run_class(rig, module, table, module.BUDGET_S * scale * (4 if fine else 1), fine)
        except Unable as reason:
            said.append(f"{name}: not measured: {reason}")
        lines.append(f"{name:<20}{len(table.done):>6}{_noise(table.path)}")
    return lines + said


def _noise(path: Path) -> str:
    import csv

    with path.open(newline="", encoding="utf-8") as file:
        found = sorted(float(row["noise"]) for row in csv.DictReader(file))
    if not found:
        return ""
    return f"{100 * statistics.median(found):>13.1f} %{100 * found[int(0.9 * (len(found) - 1))]:>6.1f} %"
