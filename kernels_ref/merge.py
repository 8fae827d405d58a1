"""Merge of split-KV partial results by their log-sum-exp, all splits at once.

Each split of a row's keys left a normalised output and a base-2 log-sum-exp; the whole row is their mean weighted by
exp2(lse). A program takes one query head and a slice of the width, and loads up to 32 splits in one tile, so that the
merge costs one memory latency, not one per split. Source: Flash-Decoding (Dao et al., 2023).
A library's attention leaves its partial results otherwise: `Pieces`, which the same kernel takes along.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_wait

from kernels_ref import online

BLOCK_SPLITS = 32
LOG2E = tl.constexpr(online.LOG2E)


@dataclass(frozen=True)
class Pieces:
    """Partial results of a library: `out` [pieces, sequences, kv_heads, group, width], any strides but the last, and
    the natural log-sum-exp `lse` [pieces, sequences, kv_heads, group] float32."""

    out: torch.Tensor
    lse: torch.Tensor


@triton.jit
def take(value, weight, m, total, acc):
    """Joins split outputs `value` [SPLITS, WIDTH] of log-sum-exp `weight` [SPLITS] (base 2) to m, total, acc."""
    m_new = tl.maximum(m, tl.max(weight, 0))
    safe = tl.where(m_new == float("-inf"), 0.0, m_new)
    weight = tl.exp2(weight - safe)
    shrink = tl.exp2(m - safe)
    return m_new, total * shrink + tl.sum(weight, 0), acc * shrink + tl.sum(value * weight[:, None], 0)


@triton.jit
def merge_kernel(
    partial,
    lse,
    out,
    out_lse,
    first,
    splits,
    pieces,
    pieces_lse,
    out_p,
    out_b,
    out_h,
    out_g,
    lse_p,
    lse_b,
    lse_h,
    lse_g,
    KV_HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    WIDTH: tl.constexpr,
    PIECES: tl.constexpr,
    HAS_FIRST: tl.constexpr,
    HAS_LSE: tl.constexpr,
    BLOCK_S: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_D: tl.constexpr,
    FOLLOWS: tl.constexpr,
):
    """One query head (program 0) and one slice of the width (program 1); shapes as in `merge`."""
    if FOLLOWS:  # started before the kernels that it depends on have ended
        gdc_wait()
    head = tl.program_id(0).to(tl.int64)
    row = head // GROUP
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    lo = row * splits
    hi = lo + splits
    if HAS_FIRST:
        lo = tl.load(first + row).to(tl.int64)
        hi = tl.load(first + row + 1).to(tl.int64)
    m = float("-inf")
    total = 0.0
    acc = tl.zeros([BLOCK_D], tl.float32)
    if PIECES:
        p = tl.arange(0, BLOCK_P)
        here = p < PIECES
        b = row // KV_HEADS
        h = row % KV_HEADS
        piece_lse = pieces_lse + p * lse_p + b * lse_b + h * lse_h + head % GROUP * lse_g
        piece = pieces + p.to(tl.int64) * out_p + b * out_b + h * out_h + head % GROUP * out_g
        natural = tl.load(piece_lse, mask=here, other=float("-inf"))
        theirs = tl.load(piece[:, None] + d[None, :], mask=here[:, None] & (d < WIDTH)[None, :], other=0.0)
        m, total, acc = take(theirs.to(tl.float32), natural * LOG2E, m, total, acc)
    for block in range(lo, hi, BLOCK_S):
        slot = block + tl.arange(0, BLOCK_S)
        at = slot * GROUP + head % GROUP
        weight = tl.load(lse + at, mask=slot < hi, other=float("-inf"))
        keep = (slot < hi) & (weight > float("-inf"))  # an empty split's output is never read: it may be poison
        mask = keep[:, None] & (d < WIDTH)[None, :]
        value = tl.load(partial + at[:, None] * WIDTH + d[None, :], mask=mask, other=0.0)
        m, total, acc = take(value, weight, m, total, acc)
    inverse = tl.where(total > 0.0, 1.0 / tl.where(total > 0.0, total, 1.0), 0.0)
    tl.store(out + head * WIDTH + d, (acc * inverse).to(out.dtype.element_ty), mask=d < WIDTH)
    if HAS_LSE:
        whole = tl.where(total > 0.0, m + tl.log2(tl.where(total > 0.0, total, 1.0)), float("-inf"))
        tl.store(out_lse + head, whole, mask=tl.program_id(1) == 0)


def merge(
    partial: torch.Tensor,
    lse: torch.Tensor,
    out: torch.Tensor,
    *,
    splits: int = 0,
    first: torch.Tensor | None = None,
    out_lse: torch.Tensor | None = None,
    pieces: Pieces | None = None,
    follows: bool = False,
) -> torch.Tensor:
    """Merges `partial` [slots, group, width] float32 with `lse` [slots, group] float32 (base 2) into `out`.

    `out` is [rows, group, width] (any contiguous view of it); row r owns slots [r * splits, (r + 1) * splits), or, with
    `first` [rows + 1] int32, slots [first[r], first[r + 1]). `out_lse` [rows, group] float32, if given, gets the merged
    base-2 log-sum-exp. `pieces` holds more partial results of the same rows (sequence-major). A row whose splits are
    all empty (lse = -inf) gives zeros. `follows`: the kernel just issued on this stream calls
    gdc_launch_dependents, so this one may start before it ends. Raises ValueError on bad shapes.
    """
    slots, group, width = partial.shape
    rows = out.numel() // (group * width)
    if lse.shape != (slots, group) or rows * group * width != out.numel():
        raise ValueError(f"lse must be [{slots}, {group}] and out a multiple of it but got {lse.shape} and {out.shape}")
    if not (partial.is_contiguous() and lse.is_contiguous() and out.is_contiguous()):
        raise ValueError("partial, lse and out must be contiguous")
    if first is None and rows * splits != slots:
        raise ValueError(f"splits must be slots / rows = {slots} / {rows} but got {splits}")
    count, kv_heads = 0, 1
    if pieces is not None:
        count, kv_heads = pieces.out.shape[0], pieces.out.shape[2]
        if pieces.lse.shape != pieces.out.shape[:4] or pieces.lse[0].numel() != rows * group:
            raise ValueError(f"pieces must be [n, sequences, kv_heads, {group}, ...] but got {pieces.out.shape}")
    block_d = min(64, triton.next_power_of_2(width))
    block_s = BLOCK_SPLITS if first is not None else min(BLOCK_SPLITS, triton.next_power_of_2(splits))
    merge_kernel[(rows * group, triton.cdiv(width, block_d))](
        partial,
        lse,
        out,
        out_lse,
        first,
        splits,
        pieces and pieces.out,
        pieces and pieces.lse,
        *(pieces.out.stride()[:4] if pieces else (0,) * 4),
        *(pieces.lse.stride() if pieces else (0,) * 4),
        KV_HEADS=kv_heads,
        GROUP=group,
        WIDTH=width,
        PIECES=count,
        HAS_FIRST=first is not None,
        HAS_LSE=out_lse is not None,
        BLOCK_S=block_s,
        BLOCK_P=triton.next_power_of_2(max(count, 1)),
        BLOCK_D=block_d,
        FOLLOWS=follows,
        num_warps=4 if block_s > 8 else 1,
        **({"launch_pdl": True} if follows else {}),
    )
    return out


def merge_reference(partial: torch.Tensor, lse: torch.Tensor, splits: int) -> torch.Tensor:
    """The same in float64 Torch: [rows, group, width] from `partial` [rows * splits, group, width]."""
    weight = torch.nan_to_num(torch.softmax(lse.double().view(-1, splits, lse.shape[1]) * 0.6931471805599453, dim=1))
    value = partial.double().view(-1, splits, *partial.shape[1:])
    return (torch.where(weight[..., None] > 0, value, 0.0) * weight[..., None]).sum(1)
