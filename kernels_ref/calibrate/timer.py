"""Seconds of a launch: marginal cost inside CUDA graphs, as kernels_ref/timing.py, made short enough for a grid.

Two graphs hold few and many launches; the difference of their times over the difference of their launches leaves out
what a graph costs to start. Replays alternate and are queued behind one another, so that the GPU never waits for the
host: between them the clocks stay where sustained work puts them.
"""

import statistics
from collections.abc import Callable
from itertools import pairwise
from typing import Protocol

import torch

from kernels_ref.calibrate.gauge import Gauge
from kernels_ref.calibrate.point import Measured, Work

TARGET_S = 0.7e-3  # what the launches that a long graph holds more than a short one should take
HEAT_S = 0.06  # of the same work before it is timed, where arithmetic binds: a power limit settles within tens of ms
REPEATS = 5  # of each graph, in each of two measurements
LONG_S = 20e-3  # graphs this long are repeated less
MOST_LAUNCHES = 400
QUEUED_CYCLES = 2_000_000  # a sleep ahead of the first replay, while the host queues the others


class Timer(Protocol):
    """What times a point's work; tests give another."""

    def time(self, work: Work) -> Measured:
        """Seconds, noise, clock and power of one launch."""
        ...


class GraphTimer:
    """The real one, on the current CUDA device."""

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self._stream = torch.cuda.Stream()

    def time(self, work: Work) -> Measured:
        """Seconds of one launch of `work`."""
        torch.cuda.synchronize()  # inputs may still be being made
        with torch.cuda.stream(self._stream):
            for i in range(min(work.sets, 3)):
                work.launch(i)
            torch.cuda.synchronize()
            launches = max(2, work.sets)
            few = capture(work.launch, work.sets, launches)
            few.replay()
            rough_s = _elapsed([few])[0] / launches
            room = MOST_LAUNCHES // launches + 1
            more = launches * max(2, min(room, int(TARGET_S / max(rough_s, 1e-7) / launches) + 2))
            many = capture(work.launch, work.sets, more)
            many.replay()
            torch.cuda.synchronize()
            if work.heat:
                for _ in range(int(HEAT_S / max(rough_s * more, 1e-6)) + 1):
                    many.replay()
            repeats = 3 if rough_s * more > LONG_S else REPEATS
            begun = _queue([few, many] * (2 * repeats))
            clock, power = self._gauge.clock_mhz(), self._gauge.power_w()
            took = _collected(begun)
        halves = took[: 2 * repeats], took[2 * repeats :]
        pair = [(statistics.median(half[1::2]) - statistics.median(half[::2])) / (more - launches) for half in halves]
        mean = max(sum(pair) / 2, 1e-9)
        return Measured(mean, abs(pair[0] - pair[1]) / mean, clock, power, dict(work.extra))


def capture(launch: Callable[[int], object], sets: int, launches: int) -> torch.cuda.CUDAGraph:
    """A graph of `launches` launches on the current stream, over the buffer sets in turn."""
    graph = torch.cuda.CUDAGraph()
    graph.capture_begin(capture_error_mode="thread_local")
    try:
        for i in range(launches):
            launch(i % sets)
    finally:
        graph.capture_end()
    return graph


def _queue(graphs: list[torch.cuda.CUDAGraph]) -> list[torch.cuda.Event]:
    """Replays behind a sleep, with events around each."""
    torch.cuda._sleep(QUEUED_CYCLES)
    events = [torch.cuda.Event(enable_timing=True)]
    events[0].record()
    for graph in graphs:
        graph.replay()
        events.append(torch.cuda.Event(enable_timing=True))
        events[-1].record()
    return events


def _collected(events: list[torch.cuda.Event]) -> list[float]:
    events[-1].synchronize()
    return [a.elapsed_time(b) * 1e-3 for a, b in pairwise(events)]


def _elapsed(graphs: list[torch.cuda.CUDAGraph]) -> list[float]:
    return _collected(_queue(graphs))
