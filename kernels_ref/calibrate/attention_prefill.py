"""Causal prefill attention: new tokens over a past and themselves, by PyTorch's FlashAttention-2 and cuDNN."""

from collections.abc import Callable, Iterator

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention as sdpa

from kernels_ref.calibrate.point import Point, Unable, Work
from kernels_ref.calibrate.rig import Rig

COLUMNS = ("batch", "new", "past", "heads", "kv_heads", "head_dim", "dtype", "kernel")
BUDGET_S = 41.0

VARLEN, FA2, CUDNN = "FlashAttention-2 varlen", "SDPA FlashAttention-2", "SDPA cuDNN"
HEADS = (
    (32, 8, 128), (32, 32, 128), (28, 4, 128), (8, 1, 128), (64, 8, 128), (32, 8, 64), (16, 2, 128), (40, 40, 128),
    (32, 32, 96),
)  # fmt: skip
COARSE = 6  # of them without --fine
NEW = (16, 64, 100, 128, 256, 384, 512, 1000, 1024, 2048, 3000, 4096, 8192, 16384, 32768)
PASTS = (0, 512, 1600, 2048, 8192, 12000, 32768, 100000)
BATCHES = (1, 2, 4, 8, 16)
MOST_FLOPS = 2.5e12
MOST_TOKENS = 40000


def shapes(every: int, first: int, fine: bool, pasts: tuple[int, ...] = PASTS) -> Iterator[tuple[int, ...]]:
    """(batch, new, past, heads, kv heads, head dim): batches above 1 only without a long past."""
    for index, heads in enumerate(HEADS if fine else HEADS[:COARSE]):
        for row, new in enumerate(NEW):
            for column, past in enumerate(pasts):
                for batch in BATCHES if past <= 2048 else (1,):
                    pairs = batch * new * (past + new / 2)
                    step = BATCHES.index(batch)
                    small = 4 * pairs * heads[0] * heads[2] <= MOST_FLOPS and batch * new <= MOST_TOKENS
                    if small and (row + 2 * column + 3 * step + index) % every == first:
                        yield batch, new, past, *heads


def points(rig: Rig, fine: bool) -> list[Point]:
    """FlashAttention-2 over all of the grid, as an engine calls it (rows of several sequences, keys are not split) and
    as SDPA does (batches, keys split where SMs are idle); cuDNN without a past: its mask begins at the top left.
    """
    found = [_point(shape, VARLEN) for shape in shapes(3 if fine else 7, 0, fine)]
    found += [_point(shape, FA2) for shape in shapes(4 if fine else 9, 0, fine)]
    return found + [_point(shape, CUDNN) for shape in shapes(1 if fine else 3, 0, fine, (0,))]


def _point(shape: tuple[int, ...], kernel: str) -> Point:
    cells = dict(zip(COLUMNS, (*shape, "bf16", kernel), strict=True))
    return Point(cells, lambda rig: build(rig, *shape, kernel))


def build(rig: Rig, batch: int, new: int, past: int, heads: int, kv_heads: int, head_dim: int, kernel: str) -> Work:
    """Queries, keys and values as projections leave them: [batch, tokens, heads, dim]."""
    sets = rig.sets(2 * batch * head_dim * (2 * new * heads + 2 * (past + new) * kv_heads))
    one = {VARLEN: varlen, FA2: flash, CUDNN: cudnn}[kernel]
    launches = [one(rig, batch, new, past, heads, kv_heads, head_dim) for _ in range(sets)]
    return Work(lambda i: launches[i](), sets, heat=4.0 * batch * new * (past + new / 2) * heads * head_dim > 2e10)


def _operands(rig: Rig, batch: int, new: int, past: int, heads: int, kv_heads: int, head_dim: int):
    q = rig.random("bf16", batch, new, heads, head_dim).transpose(1, 2)
    k, v = (rig.random("bf16", batch, past + new, kv_heads, head_dim).transpose(1, 2) for _ in "kv")
    return q, k, v


def varlen(rig: Rig, batch: int, new: int, past: int, heads: int, kv_heads: int, head_dim: int) -> Callable[[], object]:
    """Rows of all sequences one behind another, and where each begins."""
    q = rig.random("bf16", batch * new, heads, head_dim)
    k, v = (rig.random("bf16", batch * (past + new), kv_heads, head_dim) for _ in "kv")
    first = torch.arange(batch + 1, dtype=torch.int32, device=rig.device)
    of_queries, of_keys = first * new, first * (past + new)
    launch = torch.ops.aten._flash_attention_forward
    return lambda: launch(q, k, v, of_queries, of_keys, new, past + new, 0.0, True, False)


def flash(rig: Rig, *shape: int) -> Callable[[], object]:
    """FlashAttention-2's causal mask begins at the bottom right: the last query sees every key."""
    q, k, v = _operands(rig, *shape)
    launch = torch.ops.aten._scaled_dot_product_flash_attention
    return lambda: launch(q, k, v, 0.0, True)


def cudnn(rig: Rig, *shape: int) -> Callable[[], object]:
    """By the public function. Raises Unable for a past."""
    if shape[2]:
        raise Unable("SDPA's cuDNN has no causal mask with a past")
    q, k, v = _operands(rig, *shape)

    def launch() -> object:
        with sdpa_kernel([SDPBackend.CUDNN_ATTENTION]):
            return sdpa(q, k, v, is_causal=True, enable_gqa=q.shape[1] != k.shape[1])

    return launch
