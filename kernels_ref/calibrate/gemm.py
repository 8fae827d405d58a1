"""GEMMs as a model's layers call them: activations [m, k] times weights [n, k] transposed, bf16 and fp8."""

from collections.abc import Iterator

import torch

from kernels_ref.calibrate.point import Point, Unable, Work
from kernels_ref.calibrate.rig import Rig

COLUMNS = ("m", "n", "k", "dtype", "kernel")
BUDGET_S = 50.0

# (n, k): layers of models, slices of them by tensor parallelism, and shapes that are no model's.
LAYERS = (
    (6144, 4096), (4096, 4096), (28672, 4096), (4096, 14336), (128256, 4096),  # Llama 3 8B
    (12288, 4096), (22016, 4096), (4096, 11008), (32000, 4096),  # Llama 2 7B
    (4608, 3584), (3584, 3584), (37888, 3584), (3584, 18944),  # Qwen 2.5 7B
    (10240, 8192), (8192, 8192), (57344, 8192), (8192, 28672),  # Llama 3 70B
    (5120, 8192), (8192, 4096), (28672, 8192), (8192, 14336),  # over 2
    (2560, 8192), (8192, 2048), (14336, 8192), (8192, 7168),  # over 4
    (1280, 8192), (8192, 1024), (7168, 8192), (8192, 3584), (16032, 8192),  # over 8
    (15360, 5120), (5120, 5120), (27648, 5120), (5120, 13824),  # Llama 2 13B
)  # fmt: skip
NEUTRAL = (
    (512, 512), (1024, 1024), (2048, 2048), (1024, 4096), (512, 8192), (2048, 6144), (3072, 2048), (6144, 6144),
    (3072, 9216), (9216, 3072), (12288, 12288), (20480, 2560), (2560, 10240), (4864, 896), (1536, 8960), (16384, 4096),
)  # fmt: skip
ROWS = (
    1, 2, 4, 7, 8, 16, 24, 32, 33, 48, 64, 80, 96, 128, 144, 160, 192, 200, 256, 257, 320, 384, 400, 512, 520, 768,
    1000, 1024, 1536, 2048, 3000, 4096, 6000, 8192, 16384,
)  # fmt: skip
MOST_FLOPS = 8e12
RIDGE_ROWS = 192  # from so many rows on arithmetic binds


def shapes(every: int) -> Iterator[tuple[int, int, int]]:
    """(m, n, k): of each (n, k) every so many of ROWS, beginning at another."""
    for index, (n, k) in enumerate(LAYERS + NEUTRAL):
        for m in ROWS[index % every :: every]:
            if 2 * m * n * k <= MOST_FLOPS:
                yield m, n, k


def points(rig: Rig, fine: bool) -> list[Point]:
    """The grid: a third of ROWS in bf16, a sixth in fp8."""
    found = [_point(*shape, "bf16") for shape in shapes(1 if fine else 3)]
    if rig.capability >= (8, 9):
        found += [_point(*shape, "fp8") for shape in shapes(2 if fine else 6)]
    return found


def _point(m: int, n: int, k: int, dtype: str) -> Point:
    kernel = "torch.mm" if dtype == "bf16" else "torch._scaled_mm fast accum"
    cells = {"m": m, "n": n, "k": k, "dtype": dtype, "kernel": kernel}
    return Point(cells, lambda rig: build(rig, m, n, k, dtype))


def build(rig: Rig, m: int, n: int, k: int, dtype: str, sets: int = 0) -> Work:
    """Weights, activations and results that rotate over `sets` buffers (0: beyond L2). fp8: one scale a tensor, results
    in bf16."""
    width = 2 if dtype == "bf16" else 1
    sets = sets or rig.sets(n * k * width + m * k * width + 2 * m * n)
    a = [rig.random(dtype, m, k) for _ in range(sets)]
    b = [rig.random(dtype, n, k).t() for _ in range(sets)]
    heat = m >= RIDGE_ROWS and 2.0 * m * n * k > 1e10
    if dtype == "bf16":
        out = [rig.empty("bf16", m, n) for _ in range(sets)]
        return Work(lambda i: torch.mm(a[i], b[i], out=out[i]), sets, heat)
    if n % 16 or k % 16:
        raise Unable("torch._scaled_mm wants n and k in multiples of 16")
    one = torch.ones((), device=rig.device)
    out = [rig.empty("bf16", m, n) for _ in range(sets)]
    scaled = torch.ops.aten._scaled_mm.out

    def launch(i: int) -> object:
        return scaled(a[i], b[i], one, one, out_dtype=torch.bfloat16, use_fast_accum=True, out=out[i])

    return Work(launch, sets, heat)
