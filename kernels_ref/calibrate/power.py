"""Board power and clocks while one class of work runs for a second: what joules are computed from."""

import time
from collections.abc import Callable, Iterator
from functools import partial

import torch

from kernels_ref.calibrate import attention_decode, attention_prefill, elementwise, gemm, policies
from kernels_ref.calibrate.gauge import Watch
from kernels_ref.calibrate.point import Measured, Point, Unable, Work
from kernels_ref.calibrate.rig import Rig
from kernels_ref.calibrate.timer import capture

COLUMNS = ("kernel", "shape", "dtype")
EXTRA = ("watched_s", "energy_j", "sampled_w", "samples", "joules", "memory_mhz", "temperature_c", "limit_w")
BUDGET_S = 32.0
SETTLE_S, WATCH_S, GRAPH_S = 0.3, 1.0, 20e-3
HOST_BYTES = 64 << 20


def points(rig: Rig, fine: bool) -> list[Point]:
    """Each class of kernel at shapes bound by arithmetic, by memory and by neither; copies; an idle board."""
    found = [Point(_cells("idle", "", ""), measure=idle)]
    found += [Point(_cells(*name), measure=partial(_run, build)) for name, build in _works(rig)]
    return found + [Point(_cells("copy", lane, "pinned"), measure=partial(copying, lane)) for lane in ("h2d", "d2h")]


def _cells(kernel: str, shape: str, dtype: str) -> dict[str, str]:
    return {"kernel": kernel, "shape": shape, "dtype": dtype}


def _works(rig: Rig) -> Iterator[tuple[tuple[str, str, str], Callable[[Rig], Work]]]:
    for dtype in ("bf16", "fp8") if rig.capability >= (8, 9) else ("bf16",):
        for m, n, k in (
            (1, 28672, 4096),
            (32, 28672, 4096),
            (256, 28672, 4096),
            (2048, 4096, 14336),
            (8192, 8192, 8192),
        ):
            yield ("gemm", f"m={m} n={n} k={k}", dtype), partial(_gemm, m, n, k, dtype)
    for batch, context, heads, kv_heads, dtype in (
        (8, 32768, 32, 8, "bf16"), (64, 4096, 32, 8, "bf16"), (16, 1024, 32, 8, "bf16"), (8, 8192, 32, 32, "bf16"),
        (8, 32768, 32, 8, "fp8"),
    ):  # fmt: skip
        if dtype == "bf16" or rig.capability >= (8, 9):
            shape = f"batch={batch} context={context} heads={heads} kv_heads={kv_heads} head_dim=128"
            sizes = (batch, context, heads, kv_heads, 128)
            yield ("attention_decode", shape, dtype), partial(_decode, sizes, dtype)
    for new, past in ((8192, 0), (2048, 16384), (512, 0)):
        for kernel in (attention_prefill.VARLEN, attention_prefill.CUDNN)[: 1 if past else 2]:
            shape = f"batch=1 new={new} past={past} heads=32 kv_heads=8 head_dim=128"
            yield ("attention_prefill", f"{shape} {kernel}", "bf16"), partial(_prefill, new, past, kernel)
    for bits in (2, 4):
        cells = policies._cells(f"kivi{bits}", 8, 32768, 32768, policies.HEADS[0], bits, 128)
        yield (
            (f"kivi{bits}", "batch=8 context=32768 heads=32 kv_heads=8 head_dim=128", f"int{bits}"),
            partial(policies.kivi, cells),
        )
    yield (
        ("elementwise", "rms_norm tokens=16384 width=4096", "bf16"),
        partial(elementwise.build, "rms_norm", 16384, 4096, "cold"),
    )
    yield (
        ("elementwise", "copy tokens=16384 width=28672", "bf16"),
        partial(elementwise.build, "copy", 16384, 28672, "cold"),
    )


def _gemm(m: int, n: int, k: int, dtype: str, rig: Rig) -> Work:
    return gemm.build(rig, m, n, k, dtype)


def _decode(sizes: tuple[int, ...], dtype: str, rig: Rig) -> Work:
    return attention_decode.build(rig, *sizes, dtype, attention_decode.OURS)


def _prefill(new: int, past: int, kernel: str, rig: Rig) -> Work:
    return attention_prefill.build(rig, 1, new, past, 32, 8, 128, kernel)


def idle(rig: Rig) -> Measured:
    """A board with a context and no work, after it has cooled for a moment."""
    time.sleep(1.0)
    with Watch(rig.gauge) as watch:
        time.sleep(WATCH_S)
    return _figures(rig, watch, 1, 0.0)


def _run(build: Callable[[Rig], Work], rig: Rig) -> Measured:
    """A work's launches back to back, in graphs queued behind one another."""
    work = build(rig)
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        for i in range(min(work.sets, 3)):
            work.launch(i)
        torch.cuda.synchronize()
        one = capture(work.launch, work.sets, work.sets)
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        one.replay()
        begin.record()
        one.replay()
        end.record()
        end.synchronize()
        each_s = max(begin.elapsed_time(end) * 1e-3 / work.sets, 1e-7)
        launches = max(work.sets, min(4000, int(GRAPH_S / each_s)))
        graph = capture(work.launch, work.sets, launches)
        return _watched(rig, graph.replay, launches, launches * each_s)


def copying(lane: str, rig: Rig) -> Measured:
    """Pinned copies back to back."""
    host = torch.empty(HOST_BYTES, dtype=torch.uint8, pin_memory=True).random_()
    device = torch.empty(HOST_BYTES, dtype=torch.uint8, device=rig.device)
    to, source = (device, host) if lane == "h2d" else (host, device)
    to.copy_(source)
    return _watched(rig, lambda: to.copy_(source, non_blocking=True), 1, HOST_BYTES / 40e9)


def _watched(rig: Rig, replay: Callable[[], object], launches: int, about_s: float) -> Measured:
    for _ in range(int(SETTLE_S / about_s) + 1):
        replay()
    torch.cuda.synchronize()
    times = int(WATCH_S / about_s) + 1
    with Watch(rig.gauge) as watch:
        for _ in range(times):
            replay()
        torch.cuda.synchronize()
    return _figures(rig, watch, launches * times, watch.seconds / (launches * times))


def _figures(rig: Rig, watch: Watch, launches: int, seconds: float) -> Measured:
    samples, power, clock = watch.after(0.1)
    if not samples:
        raise Unable("no power sensor: NVML (package nvidia-ml-py) does not answer")
    energy = watch.energy_j or power * watch.seconds
    mean_w = energy / watch.seconds
    extra = {
        "watched_s": watch.seconds,
        "energy_j": energy,
        "sampled_w": power,
        "samples": samples,
        "joules": energy / launches,
        "memory_mhz": rig.gauge.memory_clock_mhz(),
        "temperature_c": rig.gauge.temperature_c(),
        "limit_w": rig.gauge.limit_w(),
    }
    return Measured(seconds, abs(mean_w - power) / power, clock, power, extra)
