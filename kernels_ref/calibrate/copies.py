"""Copies between host and GPU: by size, memory and direction, in pieces, both ways at once, beside a running kernel."""

import random
import statistics
import time
from collections.abc import Callable
from functools import cache, partial

import torch

from kernels_ref.calibrate import attention_decode, gemm, transfer
from kernels_ref.calibrate.point import Measured, Point, Unable, Work
from kernels_ref.calibrate.rig import Rig
from kernels_ref.calibrate.timer import QUEUED_CYCLES, capture

COLUMNS = ("lane", "memory", "pattern", "bytes", "pieces", "beside")
EXTRA = ("issue_s", "kernel_slowdown", "low_s", "high_s")
BUDGET_S = 28.0

LANES = ("h2d", "d2h")
MOST = 256 << 20
SIZES = sorted({int(2 ** (half / 2)) // 64 * 64 for half in range(20, 57)})  # 1 kB to 256 MB, half an octave apart
PIECES = tuple((piece, count) for piece in (256, 1024, 4096, 16384, 65536) for count in (16, 128, 1024, 8192))
TARGET_S, REPEATS = 2e-3, 5
ISSUE_CYCLES = 40_000  # about 20 us: more than the host takes to issue a copy
TRIES, AGREE = 4, 0.03
VISITS, STEADY = 15, 3  # pageable copies: rounds over all sizes, and copies timed in each
BESIDE_S = 30e-3
QUEUED_PIECES = 192  # a longer queue than the driver keeps would make the host wait


def points(rig: Rig, fine: bool) -> list[Point]:
    """Contiguous copies by size; the same bytes in pieces, as three kinds of launch; neighbours that slow them."""
    found = []
    for lane in LANES:
        for size in SIZES:
            found.append(_point(lane, "pinned", "contiguous", size, 1, "", pinned))
            found.append(_point(lane, "pageable", "contiguous", size, 1, "", pageable))
        for piece, count in PIECES:
            if 16384 <= piece * count <= MOST:
                found.append(_point(lane, "pinned", "pages", piece * count, count, "", pages))
                found.append(_point(lane, "pinned", "rows", piece * count, count, "", rows))
                found.append(_point(lane, "mapped", "gather", piece * count, count, "", mapped))
    return found + [
        _point(lane, "pinned", "contiguous", size, 1, beside, busy)
        for lane in LANES
        for size in (1 << 20, 8 << 20, 64 << 20)
        for beside in ("other lane", "gemm", "attention_decode")
    ]


def _point(lane: str, memory: str, pattern: str, size: int, pieces: int, beside: str, measure: Callable) -> Point:
    cells = {"lane": lane, "memory": memory, "pattern": pattern, "bytes": size, "pieces": pieces, "beside": beside}
    return Point(cells, measure=partial(measure, cells))


def buffers(rig: Rig, size: int, lane: str) -> tuple[torch.Tensor, torch.Tensor]:
    """(target, source) of random bytes, one of them pinned on the host."""
    host, device = _memory("cpu", True)[:size], _memory(rig.device)[:size]
    return (device, host) if lane == "h2d" else (host, device)


@cache
def _memory(device: str, pinned: bool = False) -> torch.Tensor:
    """MOST random bytes that copies take and overwrite; touched, so that no page is new."""
    return torch.randint(256, (MOST,), dtype=torch.uint8).pin_memory() if pinned else _random(device)


def _random(device: str) -> torch.Tensor:
    return torch.randint(256, (MOST,), dtype=torch.uint8, device=device)


def queued(launch: Callable[[int], object], few: int, many: int, pieces: int = 1) -> float:
    """GPU seconds of a launch: two lengths of queue behind a sleep, so that the host is not waited for."""

    def took(count: int) -> float:
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda._sleep(QUEUED_CYCLES // 4 + count * pieces * ISSUE_CYCLES)
        begin.record()
        for i in range(count):
            launch(i)
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) * 1e-3

    pairs = [(took(many) - took(few)) / (many - few) for _ in range(REPEATS)]
    return max(statistics.median(pairs), 1e-9)


def twice(once: Callable[[], float], extra: dict | None = None) -> Measured:
    """A measurement and its repetition; both again where they disagree, since a host's link has other users."""
    for _ in range(TRIES):
        pair = once(), once()
        mean = sum(pair) / 2
        noise = abs(pair[0] - pair[1]) / mean
        if noise < AGREE:
            break
    return Measured(mean, noise, extra=extra or {})


def counts(size: int) -> tuple[int, int]:
    """(few, many) copies of a size, that take some milliseconds."""
    many = max(3, min(100, int(TARGET_S / (3e-6 + size / 30e9))))
    return max(1, many // 4), many


def pinned(cells: dict, rig: Rig) -> Measured:
    """Asynchronous copies, one behind another."""
    to, source = buffers(rig, cells["bytes"], cells["lane"])
    launch = partial(_copy, to, source)
    launch(0)
    return twice(lambda: queued(launch, *counts(cells["bytes"])))


def _copy(to: torch.Tensor, source: torch.Tensor, _: int) -> object:
    return to.copy_(source, non_blocking=True)


def pageable(cells: dict, rig: Rig) -> Measured:
    """From the call to its end, seen from the host: the driver stages it through pinned memory of its own.

    What a host's processor does besides changes from second to second, and lasts: a median of visits that lie apart,
    with the tenth and the ninetieth percentile of them.
    """
    found = _visited(rig.device, cells["lane"])[cells["bytes"]]
    mean, deciles = statistics.median(found), statistics.quantiles(found, n=10)
    noise = abs(statistics.median(found[::2]) - statistics.median(found[1::2])) / mean
    return Measured(mean, noise, extra={"low_s": deciles[0], "high_s": deciles[-1]})


@cache
def _visited(device: str, lane: str) -> dict[int, list[float]]:
    """Seconds of a pageable copy of each of SIZES, a figure for each round over all of them in a new order."""
    draw, found = random.Random(0), {size: [] for size in SIZES}
    for _ in range(VISITS):
        for size in draw.sample(SIZES, len(SIZES)):
            host, chip = _memory("cpu")[:size], _memory(device)[:size]
            to, source = (chip, host) if lane == "h2d" else (host, chip)
            to.copy_(source)
            found[size].append(statistics.median(_called(to, source) for _ in range(1 if size > 32 << 20 else STEADY)))
    return found


def _called(to: torch.Tensor, source: torch.Tensor) -> float:
    torch.cuda.synchronize()
    begun = time.perf_counter()
    to.copy_(source)
    torch.cuda.synchronize()
    return time.perf_counter() - begun


def pages(cells: dict, rig: Rig) -> Measured:
    """One asynchronous copy a piece, from and to places in random order, as page-wise offloading does."""
    to, source, order, piece = _pieces(rig, cells)
    copy = transfer.copier(to, source, cells["lane"])
    issued: list[float] = []

    def launch(_: int) -> None:
        begun = time.perf_counter()
        for i, j in order:
            copy(i * piece, j * piece, piece)
        issued.append((time.perf_counter() - begun) / len(order))

    launch(0)
    count = min(len(order), QUEUED_PIECES)
    order = order[:count]
    share = cells["pieces"] / count
    found = twice(lambda: queued(launch, 1, 2, count) * share)
    return Measured(found.seconds, found.noise, extra={"issue_s": statistics.median(issued)})


def rows(cells: dict, rig: Rig) -> Measured:
    """One strided copy: rows of a piece that lie four apart on the GPU and together on the host (head by head)."""
    size, count = cells["bytes"], cells["pieces"]
    piece = size // count
    if 4 * size > MOST:
        raise Unable(f"strided copies above {MOST >> 22} MB are not measured")
    host, device = _memory("cpu", True), _memory(rig.device)
    launch = transfer.strided(device, 4 * piece, host, piece, piece, count, cells["lane"])
    launch()
    return twice(lambda: queued(lambda _: launch(), *counts(size)))


def mapped(cells: dict, rig: Rig) -> Measured:
    """A kernel that reads (h2d) or writes (d2h) pinned memory in place, pieces in random order."""
    to, source, order, piece = _pieces(rig, cells)
    table = torch.tensor([j for _, j in order], dtype=torch.int32, device=rig.device)
    launch = transfer.gather(to, source, table, piece, cells["lane"])
    return rig.timer.time(Work(lambda _: launch(), 1))


def _pieces(rig: Rig, cells: dict) -> tuple[torch.Tensor, torch.Tensor, list[tuple[int, int]], int]:
    to, source = buffers(rig, cells["bytes"], cells["lane"])
    order = torch.randperm(cells["pieces"], generator=torch.Generator().manual_seed(1)).tolist()
    return to, source, list(enumerate(order)), cells["bytes"] // cells["pieces"]


def busy(cells: dict, rig: Rig) -> Measured:
    """A copy while its neighbour runs all the time, and how much longer the neighbour takes meanwhile."""
    to, source = buffers(rig, cells["bytes"], cells["lane"])
    copies, kernels = torch.cuda.Stream(), torch.cuda.Stream()
    each_s = 5e-6 + cells["bytes"] / 25e9
    neighbour, alone_s = _neighbour(rig, cells, kernels)
    few = max(2, int(BESIDE_S / each_s / 3))
    few = min(few, 400)

    def run(stream: torch.cuda.Stream, launch: Callable[[], object], times: int) -> tuple[torch.cuda.Event, ...]:
        events = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        with torch.cuda.stream(stream):
            events[0].record()
            for _ in range(times):
                launch()
            events[1].record()
        return events

    def copy() -> object:
        return to.copy_(source, non_blocking=True)

    def copied() -> float:
        """Copies of a third of the time in which the neighbour runs."""
        torch.cuda.synchronize()
        run(kernels, neighbour, 1 + int(few * each_s * 2 / alone_s))
        time.sleep(1e-3)
        begin, end = run(copies, copy, few)
        torch.cuda.synchronize()
        return begin.elapsed_time(end) * 1e-3 / few

    def slowed() -> float:
        """The neighbour while copies run from before its start until after its end."""
        torch.cuda.synchronize()
        run(copies, copy, min(900, int(2 * BESIDE_S / each_s) + few))
        begin, end = run(kernels, neighbour, 1)
        torch.cuda.synchronize()
        return begin.elapsed_time(end) * 1e-3

    copied()
    found = twice(lambda: statistics.median(copied() for _ in range(3)))
    slowdown = statistics.median(slowed() for _ in range(3)) / alone_s
    return Measured(found.seconds, found.noise, extra={"kernel_slowdown": slowdown})


def _neighbour(rig: Rig, cells: dict, stream: torch.cuda.Stream) -> tuple[Callable[[], object], float]:
    """What runs beside the copies, about BESIDE_S long, and its seconds alone."""
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        if cells["beside"] == "other lane":
            to, source = buffers(rig, 64 << 20, "d2h" if cells["lane"] == "h2d" else "h2d")

            def launch() -> None:
                for _ in range(8):
                    to.copy_(source, non_blocking=True)
        else:
            shape = (8, 32768, 32, 8, 128, "bf16", attention_decode.OURS)
            gemm_ = cells["beside"] == "gemm"
            work = gemm.build(rig, 4096, 8192, 8192, "bf16") if gemm_ else attention_decode.build(rig, *shape)
            work.launch(0)
            torch.cuda.synchronize()
            launch = capture(work.launch, work.sets, 12 if gemm_ else 28).replay
        took = []
        for _ in range(4):
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            launch()
            end.record()
            end.synchronize()
            took.append(begin.elapsed_time(end) * 1e-3)
    return launch, statistics.median(took[1:])
