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
    """Joins split outputs `value` [HEADS, SPLITS, WIDTH] of log-sum-exp `weight` [HEADS, SPLITS] (base 2) to `m` and
    `total` [HEADS] and `acc` [HEADS, WIDTH]."""
    m_new = tl.maximum(m, tl.max(weight, 1))
    safe = tl.where(m_new == float("-inf"), 0.0, m_new)
    weight = tl.exp2(weight - safe[:, None])
    shrink = tl.exp2(m - safe)
    return m_new, total * shrink + tl.sum(weight, 1), acc * shrink[:, None] + tl.sum(value * weight[:, :, None], 1)


@triton.jit(do_not_specialize=["heads", "splits", "lse_p", "lse_b", "lse_h", "lse_g"])  # one compilation for all values
def merge_kernel(
    partial,
    lse,
    out,
    out_lse,
    first,
    heads,
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
    BLOCK_H: tl.constexpr,
    BLOCK_S: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """BLOCK_H query heads (program 0) and one slice of the width (program 1); shapes as in `merge`."""
    head = tl.program_id(0).to(tl.int64) * BLOCK_H + tl.arange(0, BLOCK_H)
    live = head < heads
    row = head // GROUP
    member = head % GROUP
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    in_width = d < WIDTH
    m, total, acc = online.start(BLOCK_H, BLOCK_D)
    if PIECES:
        p = tl.arange(0, BLOCK_P)
        here = live[:, None] & (p < PIECES)[None, :]
        b = row // KV_HEADS
        h = row % KV_HEADS
        piece_lse = pieces_lse + (b * lse_b + h * lse_h + member * lse_g)[:, None] + p[None, :] * lse_p
        piece = pieces + (b * out_b + h * out_h + member * out_g)[:, None] + p.to(tl.int64)[None, :] * out_p
        natural = tl.load(piece_lse, mask=here, other=float("-inf"))
        theirs = tl.load(
            piece[:, :, None] + d[None, None, :], mask=here[:, :, None] & in_width[None, None, :], other=0.0
        )
        m, total, acc = take(theirs.to(tl.float32), natural * LOG2E, m, total, acc)
    begin = row * splits
    count = begin * 0 + splits
    if HAS_FIRST:
        begin = tl.load(first + row, mask=live, other=0).to(tl.int64)
        count = tl.load(first + row + 1, mask=live, other=0).to(tl.int64) - begin
    for block in range(0, tl.max(count, 0), BLOCK_S):
        s = block + tl.arange(0, BLOCK_S)
        mine = live[:, None] & (s[None, :] < count[:, None])
        at = (begin[:, None] + s[None, :]) * GROUP + member[:, None]
        weight = tl.load(lse + at, mask=mine, other=float("-inf"))
        keep = weight > float("-inf")  # an empty split's output is never read: it may be poison
        mask = keep[:, :, None] & in_width[None, None, :]
        value = tl.load(partial + at[:, :, None] * WIDTH + d[None, None, :], mask=mask, other=0.0)
        m, total, acc = take(value, weight, m, total, acc)
    value, whole = online.finish(m, total, acc)
    to = out + head[:, None] * WIDTH + d[None, :]
    tl.store(to, value.to(out.dtype.element_ty), mask=live[:, None] & in_width[None, :])
    if HAS_LSE:
        tl.store(out_lse + head, whole, mask=live & (tl.program_id(1) == 0))


def merge(
    partial: torch.Tensor,
    lse: torch.Tensor,
    out: torch.Tensor,
    *,
    splits: int = 0,
    first: torch.Tensor | None = None,
    out_lse: torch.Tensor | None = None,
    pieces: Pieces | None = None,
) -> torch.Tensor:
    """Merges `partial` [slots, group, width] float32 with `lse` [slots, group] float32 (base 2) into `out`.

    `out` is [rows, group, width] (any contiguous view of it); row r owns slots [r * splits, (r + 1) * splits), or, with
    `first` [rows + 1] int32, slots [first[r], first[r + 1]). `out_lse` [rows, group] float32, if given, gets the merged
    base-2 log-sum-exp. `pieces` holds more partial results of the same rows (sequence-major). A row whose splits are
    all empty (lse = -inf) gives zeros. Raises ValueError on bad shapes.
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
    heads = rows * group
    block_s = BLOCK_SPLITS if first is not None else min(BLOCK_SPLITS, triton.next_power_of_2(splits))
    block_p = triton.next_power_of_2(max(count, 1))
    block_d = min(64 if block_s > 8 else 128, triton.next_power_of_2(width))
    # many rows of few splits: several a program, or starting programs takes longer than the bytes
    block_h = max(1, min(16 // max(block_s, block_p), heads // 1024)) if first is None else 1
    block_h = 1 << (block_h.bit_length() - 1)
    merge_kernel[(triton.cdiv(heads, block_h), triton.cdiv(width, block_d))](
        partial,
        lse,
        out,
        out_lse,
        first,
        heads,
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
        BLOCK_H=block_h,
        BLOCK_S=block_s,
        BLOCK_P=block_p,
        BLOCK_D=block_d,
        num_warps=4 if max(block_s, block_p) * block_h > 8 else 1,
    )
    return out


def merge_reference(partial: torch.Tensor, lse: torch.Tensor, splits: int) -> torch.Tensor:
    """The same in float64 Torch: [rows, group, width] from `partial` [rows * splits, group, width]."""
    weight = torch.nan_to_num(torch.softmax(lse.double().view(-1, splits, lse.shape[1]) * 0.6931471805599453, dim=1))
    value = partial.double().view(-1, splits, *partial.shape[1:])
    return (torch.where(weight[..., None] > 0, value, 0.0) * weight[..., None]).sum(1)
