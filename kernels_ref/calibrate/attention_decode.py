"""Decode attention: one query token a sequence over its cache. This package's paged kernel, and PyTorch's SDPA."""

from collections.abc import Callable, Iterator

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention as sdpa

from kernels_ref.calibrate.point import Point, Work
from kernels_ref.calibrate.rig import DTYPES, Rig
from kernels_ref.configs import pick
from kernels_ref.decode import decode

COLUMNS = ("batch", "context", "heads", "kv_heads", "head_dim", "dtype", "kernel")
BUDGET_S = 36.0

PAGE = 16
OURS, FA2, CUDNN = "kernels_ref decode", "SDPA FlashAttention-2", "SDPA cuDNN"
HEADS = (
    (32, 8, 128), (32, 32, 128), (28, 4, 128), (8, 1, 128), (64, 8, 128), (32, 8, 64), (16, 2, 128), (40, 40, 128),
    (32, 32, 96),
)  # fmt: skip
COARSE = 5  # of them without --fine: each is compiled anew
BATCHES = (1, 2, 3, 4, 8, 16, 24, 32, 64, 128, 256)
# Pages in multiples of 16: other strides would be compiled anew, and take as long.
CONTEXTS = (256, 512, 1024, 1536, 2048, 3072, 4096, 5120, 8192, 12288, 16384, 32768, 49152, 65536, 131072)
MOST_BYTES = 6e9  # of a cache


def shapes(every: int, first: int, fine: bool) -> Iterator[tuple[int, int, int, int, int]]:
    """(batch, context, heads, kv heads, head dim): a checkerboard over batches and contexts."""
    for index, heads in enumerate(HEADS if fine else HEADS[:COARSE]):
        for row, batch in enumerate(BATCHES):
            for column, context in enumerate(CONTEXTS):
                small = 4 * batch * context * heads[1] * heads[2] <= MOST_BYTES
                if small and (row + 2 * column + index) % every == first:
                    yield batch, context, *heads


def points(rig: Rig, fine: bool) -> list[Point]:
    """Ours over bf16 and fp8 caches, SDPA's backends over bf16."""
    found = [_point(shape, "bf16", OURS) for shape in shapes(2 if fine else 3, 0, fine)]
    if rig.capability >= (8, 9):
        found += [_point(shape, "fp8", OURS) for shape in shapes(3, 1, fine) if shape[2] == 32]
    for kernel in (FA2, CUDNN):
        found += [_point(shape, "bf16", kernel) for shape in shapes(4 if fine else 6, 0, fine)]
    return found


def variant(point: Point) -> tuple[object, ...]:
    """What Triton compiles anew."""
    cells = point.cells
    if cells["kernel"] != OURS:
        return (cells["kernel"],)
    rows = cells["batch"] * cells["kv_heads"]
    width = DTYPES[cells["dtype"]].itemsize
    config = pick(width, rows, cells["context"], 2 * rows * cells["context"] * cells["head_dim"] * width)
    return cells["heads"], cells["kv_heads"], cells["head_dim"], cells["dtype"], config


def _point(shape: tuple[int, ...], dtype: str, kernel: str) -> Point:
    cells = dict(zip(COLUMNS, (*shape, dtype, kernel), strict=True))
    return Point(cells, lambda rig: build(rig, *shape, dtype, kernel))


def build(
    rig: Rig, batch: int, context: int, heads: int, kv_heads: int, head_dim: int, dtype: str, kernel: str
) -> Work:
    """Pages in random order for ours; contiguous caches [batch, tokens, heads, dim] for SDPA."""
    width = DTYPES[dtype].itemsize
    sets = rig.sets(2 * batch * context * kv_heads * head_dim * width)
    if kernel == OURS:
        launches = [ours(rig, batch, context, heads, kv_heads, head_dim, dtype) for _ in range(sets)]
    else:
        backend = SDPBackend.FLASH_ATTENTION if kernel == FA2 else SDPBackend.CUDNN_ATTENTION
        launches = [_sdpa(rig, batch, context, heads, kv_heads, head_dim, backend) for _ in range(sets)]
    return Work(lambda i: launches[i](), sets)


def ours(
    rig: Rig, batch: int, context: int, heads: int, kv_heads: int, head_dim: int, dtype: str = "bf16"
) -> Callable[[], object]:
    """One launch of the paged kernel over full rows."""
    entries = -(-context // PAGE)
    k, v = (rig.random(dtype, batch * entries, kv_heads, PAGE, head_dim) for _ in "kv")
    q = rig.random("bf16", batch, heads, head_dim)
    q = q.half() if dtype == "fp8" else q
    table, lengths, out = rig.table(batch, entries), rig.full(context, batch), torch.empty_like(q)
    scales = torch.ones(kv_heads, device=rig.device) if dtype == "fp8" else None
    return lambda: decode(q, k, v, table, lengths, k_scale=scales, v_scale=scales, out=out)


def _sdpa(
    rig: Rig, batch: int, context: int, heads: int, kv_heads: int, head_dim: int, backend: SDPBackend
) -> Callable[[], object]:
    k, v = (rig.random("bf16", batch, context, kv_heads, head_dim).transpose(1, 2) for _ in "kv")
    q = rig.random("bf16", batch, 1, heads, head_dim).transpose(1, 2)

    def launch() -> object:
        with sdpa_kernel([backend]):
            return sdpa(q, k, v, enable_gqa=heads != kv_heads)

    return launch
