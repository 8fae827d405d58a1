"""Runs one step's batch on the device and times it: captured in a CUDA graph where it only decodes, else as it is.

The GPU's time is wanted, without what the host takes to launch a step kernel by kernel. The GPU is kept waiting before
the first event of a short one until the host is through (`kernels_ref.executor.gate`). A long one is launched faster
than it runs, and a wait would rest the GPU, for which its power limit then grants a higher clock: that step is run
again if it stood still (`kernels_ref.executor.pulse`). What the host took is in `wall_s`.
"""

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import torch

from kernels_ref.executor.batch import Batch, Staging
from kernels_ref.executor.cache import Cache
from kernels_ref.executor.decoder import Decoder
from kernels_ref.executor.gate import Gate
from kernels_ref.executor.pulse import Pulse


@dataclass(frozen=True)
class Ran:
    """What a step took: `gpu_s` between two events around its work, `wall_s` until its tokens were on the host.

    `paced`: the GPU waited for the host, so that `gpu_s` is in part the host's.
    """

    tokens: list[int]
    gpu_s: float
    wall_s: float
    graphed: bool
    paced: bool = False


@dataclass(frozen=True)
class Captured:
    """A graph and where it leaves its tokens."""

    graph: torch.cuda.CUDAGraph
    tokens: torch.Tensor
    rows: torch.Tensor | None  # which emit: read by the graph


T = TypeVar("T")
MOST_FAILURES = 3  # captures that fail in a row before no more are tried
SHORT_TOKENS = 1600  # steps up to so many rows are over before the host has launched them: they cannot run in series


class Runner:
    """A decoder with its cache. `graph_sizes`: rows that a graph may have; none on a CPU."""

    def __init__(self, decoder: Decoder, cache: Cache, graph_sizes: tuple[int, ...], integers: int = 1 << 20) -> None:
        self.decoder, self.cache = decoder, cache
        self.gpu = decoder.device.type == "cuda"
        self.graph_sizes = tuple(sorted(graph_sizes)) if self.gpu and cache.graphed else ()
        self.staging = Staging(str(decoder.device), integers)
        self._graphs: dict[tuple[int, ...], Captured | None] = {}
        self._anchor: torch.cuda.CUDAGraph | None = None  # graphs share its memory, which is gone once none has it
        self._failures = 0  # captures that failed in a row
        self._gate = Gate() if self.gpu else None
        self._pulse = Pulse(decoder.shape.layers) if self.gpu else None
        self._compiled: set[tuple[int, int, int]] = set()
        self._side: torch.cuda.Stream | None = None
        self.capture_s = 0.0
        self.logits: torch.Tensor | None = None  # of the last step that ran without a graph

    def padded(self, decodes: int, chunks: int) -> int | None:
        """Rows of the graph that would run a step, or None."""
        if chunks or not decodes:
            return None
        return next((size for size in self.graph_sizes if size >= decodes), None)

    def run(self, batch: Batch) -> Ran:
        """Run a prepared batch, to its end. May be called again: the same work over the same rows.

        It is run again at once where the GPU waited for the host, as when a kernel was loaded or compiled meanwhile;
        not if it also moved pages, whose places its work has overwritten.
        """
        moves = bool(batch.moves)
        ran = self._run(batch)
        if not ran.paced or moves:
            return ran
        again = self._run(batch)
        return again if again.gpu_s < ran.gpu_s else ran

    def _run(self, batch: Batch) -> Ran:
        begun = time.perf_counter()
        captured = self._captured(batch)
        if captured is None:
            self._compile(batch)
        begun += self._spent
        self.cache.batch = batch
        count = self.staging.place(batch)
        rows = self._rows(batch) if captured is None else None
        clock = _events() if self.gpu else _host_clock()
        gate = self._gate if batch.frozen or (captured is None and batch.tokens <= SHORT_TOKENS) else None
        pulse = self._pulse if captured is None and not gate and batch.tokens else None
        if gate:
            gate.close()
        clock[0]()
        for move in batch.moves:
            move()
        self.staging.send(count)
        if captured is not None:
            captured.graph.replay()
            found = captured.tokens
        elif batch.tokens:
            found, self.logits = self._watched(pulse, batch, rows)
        else:
            found = self.staging.device[:0]
        clock[1]()
        if gate:
            gate.open()
        tokens = found[: len(batch.emitting)].tolist()
        gpu_s = clock[2]()
        batch.moves.clear()
        paced = (gate is not None and not gate.held) or (pulse is not None and pulse.stood_still())
        return Ran(tokens, gpu_s, time.perf_counter() - begun, captured is not None, paced)

    def series(self, batch: Batch, times: int) -> list[float]:
        """GPU seconds of a batch run `times` times back to back: what the host needs to launch it shows once only."""
        captured = self._captured(batch)
        if not self.gpu or (captured is None and batch.tokens <= SHORT_TOKENS):
            return [self.run(batch).gpu_s for _ in range(times)]
        self.cache.batch = batch
        self.staging.send(self.staging.place(batch))
        rows = self._rows(batch) if captured is None else None
        marks = [torch.cuda.Event(enable_timing=True) for _ in range(times + 2)]
        for mark in marks:
            mark.record()
            if mark is marks[-1]:
                break
            if captured is not None:
                captured.graph.replay()
            else:
                self.decoder.next_tokens(batch.on_device["ids"], self.cache, rows)
        torch.cuda.synchronize()
        return [a.elapsed_time(b) * 1e-3 for a, b in pairwise(marks[1:])]

    def _watched(
        self, pulse: Pulse | None, batch: Batch, rows: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        ids = batch.on_device["ids"]
        if pulse is None:
            return self.decoder.next_tokens(ids, self.cache, rows)
        self.decoder.watch = pulse
        pulse.begin()
        found = self.decoder.next_tokens(ids, self.cache, rows)
        pulse.end()
        self.decoder.watch = None
        return found

    def _rows(self, batch: Batch) -> torch.Tensor | None:
        """Rows that emit, on the device; None for all."""
        rows = batch.emitting
        if len(rows) == batch.tokens or not batch.chunks:
            return None
        return torch.tensor(rows, dtype=torch.int64, device=self.decoder.device)

    def _compile(self, batch: Batch) -> None:
        """Let the kernels of a new size of decodes be compiled before they are timed: one layer of nothing."""
        key = (batch.padded, batch.width, -1)
        if not self.gpu or not self.cache.graphed or not batch.padded or key in self._compiled:
            return
        begun = time.perf_counter()
        blank = self.cache.blank(batch.padded, batch.width, 1)
        self.staging.send(self.staging.place(blank))
        shape = self.decoder.shape
        self.cache.attend(0, torch.zeros(batch.padded, shape.qkv_rows, dtype=shape.dtype, device=self.decoder.device))
        torch.cuda.synchronize()
        self._compiled.add(key)
        self._spent += time.perf_counter() - begun

    # -- graphs -------------------------------------------------------------------------------------------------------

    _spent = 0.0

    def _captured(self, batch: Batch) -> Captured | None:
        """The graph that runs a batch, captured now if it is new; None for one that runs without."""
        self._spent = 0.0
        if not self.gpu:
            return None
        if batch.frozen:
            key: tuple[int, ...] = (id(batch),)
        elif self.padded(batch.decodes, len(batch.chunks)) == batch.padded:
            key = (batch.padded, batch.width, batch.variant)
        else:
            return None
        if key not in self._graphs and self._failures < MOST_FAILURES:
            begun = time.perf_counter()
            try:
                self._graphs[key] = self._capture(batch if batch.frozen else self.cache.blank(*key))
                self._failures = 0
            except (RuntimeError, AssertionError) as failure:  # the step then runs without
                self._graphs[key] = None
                self._failures += 1
                self._recover()
                print(f"no graph of {key}: {failure}".split("\n")[0], file=sys.stderr, flush=True)
            self._spent = time.perf_counter() - begun
            self.capture_s += self._spent
        return self._graphs.get(key)

    def _recover(self) -> None:
        """A capture that could not begin leaves the random generator waiting for its end: give it another state."""
        with suppress(Exception):
            generator = torch.cuda.default_generators[self.decoder.device.index or 0]
            generator.graphsafe_set_state(generator.clone_state())
        with suppress(Exception):
            torch.cuda.synchronize()

    def forget(self, batch: Batch) -> None:
        """Let go of a frozen batch's graph."""
        self._graphs.pop((id(batch),), None)

    def _capture(self, batch: Batch) -> Captured:
        """A batch of nothing, or one as it is; first without a graph, so that kernels are compiled."""
        self.cache.batch = batch
        self.staging.send(self.staging.place(batch))
        ids = batch.on_device["ids"]
        torch.cuda.synchronize()
        side = self._side = self._side or torch.cuda.Stream()  # one for all: cuBLAS keeps a workspace for each
        side.wait_stream(torch.cuda.current_stream())
        key, rows = (batch.padded, batch.width, len(batch.chunks)), self._rows(batch)
        if not batch.frozen or key not in self._compiled:  # a frozen batch of a known size has its kernels
            with torch.cuda.stream(side):
                for _ in range(1 if batch.frozen else 2):
                    self.decoder.next_tokens(ids, self.cache, rows)
            self._compiled.add(key)
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()
        if self._anchor is None:
            self._anchor, _ = _record(side, None, lambda: torch.zeros(1, device=self.decoder.device))
        graph, (tokens, _) = _record(side, self._anchor.pool(), lambda: self.decoder.next_tokens(ids, self.cache, rows))
        if batch.frozen:  # it runs once: that would count how long a new graph takes to get to the GPU
            graph.replay()
        torch.cuda.synchronize()
        return Captured(graph, tokens, rows)


def _record(
    stream: torch.cuda.Stream, memory: tuple[int, int] | None, work: Callable[[], T]
) -> tuple[torch.cuda.CUDAGraph, T]:
    """Captures `work` on a stream; `torch.cuda.graph` would also empty the allocator's cache each time."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(stream):
        graph.capture_begin(*(() if memory is None else (memory,)), capture_error_mode="thread_local")
        try:
            made = work()
        finally:
            graph.capture_end()
    return graph, made


Timer = tuple[Callable[[], None], Callable[[], None], Callable[[], float]]


def _events() -> Timer:
    """Begin, end, and the seconds between them on the GPU."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def seconds() -> float:
        end.synchronize()
        return begin.elapsed_time(end) * 1e-3

    return begin.record, end.record, seconds


def _host_clock() -> Timer:
    """The same by the host's clock."""
    times: list[float] = []

    def note() -> None:
        times.append(time.perf_counter())

    return note, note, lambda: times[-1] - times[-2]
