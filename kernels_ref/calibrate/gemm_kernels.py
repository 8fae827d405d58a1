"""Which kernel the library picks for each GEMM: `python -m kernels_ref.calibrate.gemm_kernels OUT.csv`.

A kernel's name says its tile and whether k is split. Every shape of `gemm` is launched once under PyTorch's profiler,
a spinning kernel between two, so that what a shape launches is told from its neighbours'.
"""

import csv
import itertools
import sys
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from kernels_ref.calibrate import gemm
from kernels_ref.calibrate.rig import Rig, of_this_machine
from kernels_ref.calibrate.table import origin, short

COLUMNS = ("m", "n", "k", "dtype", "seconds", "launches", "name")
MARK = "spin_kernel"
CYCLES = 2000
MOST_BYTES = 4e9  # of a shape's operands


def launched(rig: Rig, shapes: list[tuple[Any, ...]]) -> list[list[tuple[str, float]]]:
    """(name, seconds) of every kernel that each shape launches."""
    launches = [gemm.build(rig, *shape, sets=1).launch for shape in shapes]
    for launch in launches:
        launch(0)
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as watched:
        for launch in launches:
            torch.cuda._sleep(CYCLES)
            launch(0)
        torch.cuda.synchronize()
    seen = sorted(watched.events(), key=lambda event: event.time_range.start)
    kernels = [(event.name, event.device_time * 1e-6) for event in seen if event.device_time > 0]
    found: list[list[tuple[str, float]]] = []
    for name, seconds in kernels:
        if MARK in name:
            found.append([])
        elif found:
            found[-1].append((name, seconds))
    return found


def main(path: str) -> None:
    """Writes a row a shape."""
    rig = of_this_machine()
    cells = [tuple(point.cells[name] for name in COLUMNS[:4]) for point in gemm.points(rig, False)]
    shapes = [(m, n, k, dtype) for m, n, k, dtype in cells if 2 * (m * k + n * k + m * n) < MOST_BYTES]
    about = origin(rig.gauge.driver())
    with torch.inference_mode():
        found = launched(rig, shapes)
    print(f"{len(found)} of {len(shapes)} shapes")
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow((*COLUMNS, *about))
        for shape, kernels in itertools.zip_longest(shapes, found, fillvalue=[]):
            names = " + ".join(name.partition("<")[0].removeprefix("void ") for name, _ in kernels)
            writer.writerow((*shape, short(sum(s for _, s in kernels)), len(kernels), names, *about.values()))


if __name__ == "__main__":
    main(sys.argv[1])
