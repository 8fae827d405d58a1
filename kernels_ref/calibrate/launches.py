"""What a kernel costs beside its work: on the GPU in and out of graphs, and on the host that launches it."""

import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
import triton

from kernels_ref.calibrate.point import Measured, Point, Work
from kernels_ref.calibrate.rig import Rig
from kernels_ref.calibrate.timer import QUEUED_CYCLES, capture

COLUMNS = ("kernel", "mode", "nodes")
BUDGET_S = 3.0
NODES = (1, 10, 100, 1000)


@triton.jit
def empty_kernel(x):
    """Does nothing."""
    return


def points(rig: Rig, fine: bool) -> list[Point]:
    """GPU seconds a launch (mode graph, stream), host seconds a launch (host), both of a whole graph (replay)."""
    found = []
    for kernel in ("empty", "tiny"):
        found.append(Point(_cells(kernel, "graph", 1), build=partial(_work, kernel)))
        found.append(Point(_cells(kernel, "stream", 1), measure=partial(stream, kernel)))
        found.append(Point(_cells(kernel, "host", 1), measure=partial(host, kernel)))
        found += [Point(_cells(kernel, "replay", n), measure=partial(replay, kernel, n)) for n in NODES]
    return found


def _cells(kernel: str, mode: str, nodes: int) -> dict[str, str | int]:
    return {"kernel": kernel, "mode": mode, "nodes": nodes}


def _work(kernel: str, rig: Rig) -> Work:
    """A kernel without work, or one that adds 1 to 4 kB."""
    x = torch.zeros(1024, device=rig.device)
    if kernel == "tiny":
        return Work(lambda i: x.add_(1), 1)
    return Work(lambda i: empty_kernel[(1,)](x), 1)


def _twice(once: Callable[[], float], repeats: int = 7) -> Measured:
    pair = [statistics.median(once() for _ in range(repeats)) for _ in range(2)]
    mean = sum(pair) / 2
    return Measured(mean, abs(pair[0] - pair[1]) / mean)


def stream(kernel: str, rig: Rig, launches: int = 200) -> Measured:
    """GPU seconds of each of many launches queued in a stream, without a graph."""
    work = _work(kernel, rig)
    work.launch(0)

    def once() -> float:
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda._sleep(4 * QUEUED_CYCLES)
        begin.record()
        for _ in range(launches):
            work.launch(0)
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) * 1e-3 / launches

    return _twice(once)


def host(kernel: str, rig: Rig, launches: int = 200) -> Measured:
    """Host seconds to issue one launch."""
    work = _work(kernel, rig)
    work.launch(0)

    def once() -> float:
        torch.cuda.synchronize()
        begun = time.perf_counter()
        for _ in range(launches):
            work.launch(0)
        took = time.perf_counter() - begun
        torch.cuda.synchronize()
        return took / launches

    return _twice(once)


def replay(kernel: str, nodes: int, rig: Rig) -> Measured:
    """From the call that launches a graph to the end of its work, seen from the host."""
    work = _work(kernel, rig)
    work.launch(0)
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        graph = capture(work.launch, 1, nodes)
        graph.replay()

        def once() -> float:
            torch.cuda.synchronize()
            begun = time.perf_counter()
            graph.replay()
            torch.cuda.synchronize()
            return time.perf_counter() - begun

        return _twice(once, 15)
