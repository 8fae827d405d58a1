"""Seconds of GPU work, measured so that they mean something: marginal cost inside CUDA graphs.

Two graphs hold few and many launches back to back; the difference of their median times, over the difference of their
launches, leaves out what a graph costs to start. Launches rotate over buffer sets that together exceed the L2 cache
several times, so that none is read from it. Everything is measured twice; the difference is the noise floor.
"""

import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import triton

GB = 1e9


@dataclass(frozen=True)
class Timing:
    """`seconds` a launch (mean of two measurements) and `noise`, their relative difference."""

    seconds: float
    noise: float


def sets_beyond_l2(bytes_per_set: int, times: int = 4) -> int:
    """How many buffer sets of `bytes_per_set` bytes exceed the L2 cache `times` times (2 at least)."""
    l2 = torch.cuda.get_device_properties(torch.cuda.current_device()).L2_cache_size
    return max(2, -(-times * l2 // max(bytes_per_set, 1)))


def _capture(launch: Callable[[int], object], sets: int, launches: int) -> torch.cuda.CUDAGraph:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for i in range(launches):
            launch(i % sets)
    return graph


def _median_seconds(graph: torch.cuda.CUDAGraph, repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        seconds.append(begin.elapsed_time(end) * 1e-3)
    return statistics.median(seconds)


def seconds(launch: Callable[[int], object], sets: int, repeats: int = 15, target_s: float = 2e-3) -> Timing:
    """Times `launch(i)`, which issues the work over buffer set i of `sets`, on the current CUDA device.

    `target_s` is about how long the larger graph runs. Raises RuntimeError without a CUDA device.
    """
    if not torch.cuda.is_available():
        raise RuntimeError("timing needs a CUDA device")
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())  # the inputs may still be being made
    with torch.cuda.stream(side):
        for i in range(min(sets, 3)):
            launch(i)
    torch.cuda.synchronize()
    few = _capture(launch, sets, max(2, sets))
    few.replay()
    rough = _median_seconds(few, 3) / max(2, sets)
    count = max(2, sets)
    more = count * max(2, min(200 // count + 1, int(target_s / max(rough, 1e-7) / count) + 1))
    many = _capture(launch, sets, more)
    many.replay()
    pair = [(_median_seconds(many, repeats) - _median_seconds(few, repeats)) / (more - count) for _ in range(2)]
    mean = sum(pair) / 2
    return Timing(mean, abs(pair[0] - pair[1]) / mean)


def copy_bandwidth(bytes_each: int = 1 << 30) -> Timing:
    """Bytes per second (in `.seconds`' place) of a device-to-device copy of random data, reads plus writes.

    The faster of the driver's copy and of a copy kernel (an addition), so that the yardstick is not too short.
    """
    source = torch.randn(2, bytes_each // 4, device="cuda")
    target = torch.empty_like(source)
    copies = (lambda i: target[i].copy_(source[i]), lambda i: torch.add(source[i], 1.0, out=target[i]))
    timing = min((seconds(copy, 2, target_s=20e-3) for copy in copies), key=lambda t: t.seconds)
    return Timing(2 * bytes_each / timing.seconds, timing.noise)


def flop_peak(dtype: torch.dtype = torch.bfloat16, size: int = 8192) -> Timing:
    """FLOPs per second (in `.seconds`' place) of a square matrix product of random data through the library."""
    a = torch.randn(size, size, device="cuda", dtype=dtype)
    b = torch.randn(size, size, device="cuda", dtype=dtype)
    out = torch.empty_like(a)
    timing = seconds(lambda i: torch.mm(a, b, out=out), 2, target_s=20e-3)
    return Timing(2 * size**3 / timing.seconds, timing.noise)


def provenance() -> dict[str, str]:
    """The columns that say where a number comes from: device, driver, torch, triton, command."""
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    driver = subprocess.run(query, capture_output=True, text=True, check=True).stdout.split("\n")[0].strip()
    main = sys.modules["__main__"].__spec__
    name = f"python -m {main.name}" if main else "python"
    words = [Path(word).name if "/" in word else word for word in sys.argv[1:]]  # where a file went says nothing
    return {
        "device": torch.cuda.get_device_name(),
        "driver": driver,
        "torch": torch.__version__,
        "triton": triton.__version__,
        "command": " ".join([name, *words]),
    }
