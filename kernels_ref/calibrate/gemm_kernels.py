"""Which kernel the library picks for each GEMM: `python -m kernels_ref.calibrate.gemm_kernels OUT.csv [--fine]`.

A kernel's name says its tile and whether k is split, its grid how many CTAs share the work. Every shape is launched
once under PyTorch's profiler, a spinning kernel between two, so that what a shape launches is told from its
neighbours'. `--fine`: all of ROWS, and layers that no table times, of which only the kernels' names are of use.
"""

import csv
import json
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from kernels_ref.calibrate import gemm
from kernels_ref.calibrate.point import Unable
from kernels_ref.calibrate.rig import Rig, of_this_machine
from kernels_ref.calibrate.table import origin, short

COLUMNS = ("m", "n", "k", "dtype", "seconds", "launches", "name", "ctas")
MARK = "spin_kernel"
CYCLES = 2000
MOST_BYTES = 4e9  # of a shape's operands
TOGETHER, TOGETHER_BYTES = 200, 8e9  # shapes, and bytes of their results, under one profile
OTHERS = 150  # layers that no table times
Shape = tuple[int, int, int, str]
Kernel = tuple[str, float, int]


def others() -> Iterator[Shape]:
    """Layers of random width and depth, in multiples of 64, always alike."""
    draw = random.Random(0)
    for _ in range(OTHERS):
        n, k = (64 * round(2 ** draw.uniform(3, most)) for most in (9.3, 8.5))
        for m in gemm.ROWS:
            yield m, n, k, "bf16"
        for m in gemm.ROWS[::3]:
            yield m, n, k, "fp8"


def launched(rig: Rig, shapes: Sequence[Shape]) -> list[list[Kernel]]:
    """(name, seconds, CTAs) of every kernel that each shape launches; none where the library refuses."""
    launches = [_launch(rig, shape) for shape in shapes]
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as watched:
        for launch in launches:
            torch.cuda._sleep(CYCLES)
            launch(0)
        torch.cuda.synchronize()
    found: list[list[Kernel]] = []
    for event in sorted(_events(watched), key=lambda event: event["ts"]):
        if MARK in event["name"]:
            found.append([])
        elif found:
            x, y, z = event["args"].get("grid", (0, 0, 0))
            found[-1].append((event["name"], event["dur"] * 1e-6, x * y * z))
    return found


def _launch(rig: Rig, shape: Shape) -> Callable[[int], object]:
    try:
        launch = gemm.build(rig, *shape, sets=1).launch
        launch(0)
    except (Unable, RuntimeError):
        return lambda i: None
    return launch


def _events(watched: Any) -> list[dict[str, Any]]:
    """What ran on the GPU."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        watched.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    return [one for one in events if one.get("cat") in ("kernel", "gpu_memset", "gpu_memcpy") and one["dur"] > 0]


def batches(shapes: Sequence[Shape]) -> Iterator[list[Shape]]:
    """Shapes whose results fit the memory together."""
    batch: list[Shape] = []
    room = TOGETHER_BYTES
    for shape in shapes:
        room -= 2 * shape[0] * shape[1]
        if batch and (room < 0 or len(batch) == TOGETHER):
            yield batch
            batch, room = [], TOGETHER_BYTES - 2 * shape[0] * shape[1]
        batch.append(shape)
    yield batch


def main(path: str, fine: bool) -> None:
    """Writes a row a shape."""
    rig = of_this_machine()
    cells = [tuple(point.cells[name] for name in COLUMNS[:4]) for point in gemm.points(rig, fine)]
    shapes: Any = [*cells, *(others() if fine else ())]
    shapes = [one for one in shapes if 2 * (one[0] * one[2] + one[1] * one[2] + one[0] * one[1]) < MOST_BYTES]
    about, done = origin(rig.gauge.driver()), 0
    with Path(path).open("w", newline="", encoding="utf-8") as file, torch.inference_mode():
        writer = csv.writer(file)
        writer.writerow((*COLUMNS, *about))
        for batch in batches(shapes):
            found = launched(rig, batch)
            if len(found) != len(batch):
                print(f"{len(batch)} shapes from {batch[0]} on: {len(found)} marks between them, left out")
                continue
            done += len(batch)
            for shape, kernels in zip(batch, found, strict=True):
                names = " + ".join(name.partition("<")[0].removeprefix("void ") for name, _, _ in kernels)
                ctas = " + ".join(str(ctas) for _, _, ctas in kernels)
                seconds = short(sum(took for _, took, _ in kernels))
                writer.writerow((*shape, seconds, len(kernels), names, ctas, *about.values()))
            torch.cuda.empty_cache()
    print(f"{done} of {len(shapes)} shapes")


if __name__ == "__main__":
    main(sys.argv[1], "--fine" in sys.argv)
