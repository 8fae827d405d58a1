"""All-reduce and copies between GPUs, by NCCL in CUDA graphs, one process a GPU. Needs two GPUs at least."""

import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch

from kernels_ref.calibrate.point import Measured, Point, Unable
from kernels_ref.calibrate.rig import Rig

COLUMNS = ("op", "bytes", "gpus", "dtype", "kernel", "mode")
BUDGET_S = 40.0

SIZES = sorted({int(2 ** (half / 2)) // 256 * 256 for half in range(20, 58)})  # 1 kB to 256 MB, half an octave apart
PEER_SIZES = tuple(1 << power for power in range(12, 29))
REPEATS, LAUNCHES = 7, 20
TARGET_S = 4e-3


def points(rig: Rig, fine: bool) -> list[Point]:
    """All numbers of GPUs that are powers of two; peer copies between the first two."""
    gpus = torch.cuda.device_count()
    if gpus < 2:
        raise Unable(f"needs two GPUs, and there is {gpus}")
    results: dict[tuple[str, int, int, str], tuple[float, float]] = {}

    def found(op: str, size: int, count: int, mode: str) -> Measured:
        if not any(key[2] == count and key[0] == op for key in results):
            results.update(peers() if op == "peer_copy" else together(count))
        return Measured(*results[op, size, count, mode])

    kernel = f"NCCL {'.'.join(map(str, torch.cuda.nccl.version()))}"
    rows = [
        ("all_reduce", size, count, kernel, mode)
        for count in (2, 4, 8)
        if count <= gpus
        for size in SIZES
        for mode in ("graph", "eager")
    ]
    rows += [("peer_copy", size, 2, "cudaMemcpyAsync", "stream") for size in PEER_SIZES]

    def point(op: str, size: int, count: int, kernel: str, mode: str) -> Point:
        cells = {"op": op, "bytes": size, "gpus": count, "dtype": "bf16", "kernel": kernel, "mode": mode}
        return Point(cells, measure=lambda rig: found(op, size, count, mode))

    return [point(*row) for row in rows]


def together(gpus: int) -> dict[tuple[str, int, int, str], tuple[float, float]]:
    """(op, bytes, gpus, mode) -> (seconds, noise) of an all-reduce over so many GPUs."""
    import torch.multiprocessing as processes

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results"
        processes.spawn(_member, (gpus, str(path)), nprocs=gpus)
        found: dict[Any, Any] = torch.load(path)
    return found


def _member(rank: int, gpus: int, path: str) -> None:
    """One GPU's part: every size in a graph and eagerly; the slowest member's time counts."""
    import torch.distributed as dist

    os.environ.setdefault(
        "NCCL_NVLS_ENABLE", "0"
    )  # sums in the switch need a multicast that a shared host may not lend
    torch.cuda.set_device(rank)
    dist.init_process_group("nccl", init_method=f"file://{path}.rendezvous", rank=rank, world_size=gpus)
    found = {}
    for size in SIZES:
        data = torch.randn(size // 2, device="cuda").bfloat16()
        launches = max(2, min(LAUNCHES, int(TARGET_S / (1e-5 + size / 100e9))))
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for _ in range(3):
                dist.all_reduce(data, op=dist.ReduceOp.AVG)  # a mean of means keeps its size
            torch.cuda.synchronize()
            graphs = []
            for count in (launches, 3 * launches):
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, stream=stream):
                    for _ in range(count):
                        dist.all_reduce(data, op=dist.ReduceOp.AVG)
                graphs.append(graph)
                graph.replay()
            for mode in ("graph", "eager"):
                pair = [_marginal(dist, data, graphs, launches, mode) for _ in range(2)]
                both = torch.tensor(pair, device="cuda", dtype=torch.float64)
                dist.all_reduce(both, op=dist.ReduceOp.MAX)
                first, second = both.tolist()
                mean = (first + second) / 2
                found["all_reduce", size, gpus, mode] = (mean, abs(first - second) / mean)
    if rank == 0:
        torch.save(found, path)
    dist.barrier()
    dist.destroy_process_group()


def _marginal(dist: Any, data: torch.Tensor, graphs: list[torch.cuda.CUDAGraph], launches: int, mode: str) -> float:
    """Seconds of one all-reduce: of a graph of three times as many less one, or of a row of eager ones."""
    found = []
    for _ in range(REPEATS):
        took = []
        for which, count in enumerate((launches, 3 * launches)):
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            dist.barrier()
            torch.cuda.synchronize()
            begin.record()
            if mode == "graph":
                graphs[which].replay()
            else:
                for _ in range(count):
                    dist.all_reduce(data, op=dist.ReduceOp.AVG)
            end.record()
            end.synchronize()
            took.append(begin.elapsed_time(end) * 1e-3)
        found.append((took[1] - took[0]) / (2 * launches))
    return max(statistics.median(found), 1e-9)


def peers() -> dict[tuple[str, int, int, str], tuple[float, float]]:
    """Copies from GPU 0 to GPU 1, back to back."""
    found = {}
    for size in PEER_SIZES:
        source = torch.empty(size, dtype=torch.uint8, device="cuda:0").random_()
        to = torch.empty(size, dtype=torch.uint8, device="cuda:1")
        count = max(4, min(200, int(TARGET_S / (5e-6 + size / 200e9))))

        def once(count: int = count, to: torch.Tensor = to, source: torch.Tensor = source) -> float:
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            torch.cuda.synchronize()
            torch.cuda._sleep(2_000_000)
            begin.record()
            for _ in range(count):
                to.copy_(source, non_blocking=True)
            end.record()
            end.synchronize()
            return begin.elapsed_time(end) * 1e-3 / count

        once()
        pair = [statistics.median(once() for _ in range(REPEATS)) for _ in range(2)]
        mean = sum(pair) / 2
        found["peer_copy", size, 2, "stream"] = (mean, abs(pair[0] - pair[1]) / mean)
    return found
