"""Grouped GEMMs of MoE layers: each token's rows times the weights of the experts it was sent to."""

import torch

from kernels_ref.calibrate.point import Point, Unable, Work
from kernels_ref.calibrate.rig import Rig

COLUMNS = ("rows", "experts", "used", "n", "k", "dtype", "kernel")
BUDGET_S = 7.0

# (experts, n, k): gate and up in one, down; ffn of an expert, its share over 8 chips.
LAYERS = (
    (8, 28672, 4096), (8, 4096, 14336), (8, 7168, 4096), (64, 2816, 2048), (64, 2048, 1408), (128, 1536, 2048),
    (128, 2048, 768), (32, 4096, 7168), (32, 7168, 2048), (16, 2048, 2048),
)  # fmt: skip
ROWS = (2, 8, 32, 64, 128, 256, 512, 1024, 2048, 4096, 16384)
LIBRARY, LOOP = "torch._grouped_mm", "torch.mm, one an expert"


def points(rig: Rig, fine: bool) -> list[Point]:
    """Rows are routed at random, evenly in expectation; `used` experts get any."""
    found = []
    for experts, n, k in LAYERS:
        for rows in ROWS:
            counts = routed(rows, experts)
            used = sum(count > 0 for count in counts)
            kernels = (LIBRARY, LOOP) if fine or rows in (64, 1024) else (LIBRARY,)
            for kernel in kernels:
                cells = {"rows": rows, "experts": experts, "used": used, "n": n, "k": k, "dtype": "bf16"}
                found.append(Point(cells | {"kernel": kernel}, _builder(counts, n, k, kernel)))
    return found


def routed(rows: int, experts: int) -> list[int]:
    """Rows of each expert, drawn with a fixed seed."""
    drawn = torch.randint(experts, (rows,), generator=torch.Generator().manual_seed(rows))
    return torch.bincount(drawn, minlength=experts).tolist()


def _builder(counts: list[int], n: int, k: int, kernel: str):
    return lambda rig: build(rig, counts, n, k, kernel)


def build(rig: Rig, counts: list[int], n: int, k: int, kernel: str) -> Work:
    """All experts' weights in one tensor [experts, n, k]; the loop launches one GEMM for each expert with rows."""
    rows, experts = sum(counts), len(counts)
    sets = rig.sets(sum(count > 0 for count in counts) * n * k * 2 + rows * (n + k) * 2)
    weights = [rig.random("bf16", experts, n, k).transpose(1, 2) for _ in range(min(sets, 4))]
    a = [rig.random("bf16", rows, k) for _ in range(sets)]
    ends = torch.tensor(counts, device=rig.device).cumsum(0).int()
    heat = 2.0 * rows * n * k > 1e11
    if kernel == LIBRARY:
        if not hasattr(torch, "_grouped_mm"):
            raise Unable(f"torch {torch.__version__} has no _grouped_mm")
        return Work(lambda i: torch._grouped_mm(a[i], weights[i % len(weights)], ends), sets, heat)
    out = rig.empty("bf16", rows, n)

    def loop(i: int) -> object:
        at = 0
        for expert, count in enumerate(counts):
            if count:
                part = slice(at, at + count)
                torch.mm(a[i][part], weights[i % len(weights)][expert], out=out[part])
                at += count
        return out

    return Work(loop, sets, heat)
