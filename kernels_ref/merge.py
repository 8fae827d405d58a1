"""Merge of split-KV partial results by their log-sum-exp, all splits at once.

Each split of a row's keys left a normalised output and a base-2 log-sum-exp; the whole row is their mean weighted by
exp2(lse). A program takes one query head and a slice of the width, and loads up to 32 splits in one tile, so that the
merge costs one memory latency, not one per split. Source: Flash-Decoding (Dao et al., 2023).
"""

import torch
import triton
import triton.language as tl

BLOCK_SPLITS = 32


@triton.jit
def merge_kernel(
    partial,
    lse,
    out,
    out_lse,
    first,
    splits,
    GROUP: tl.constexpr,
    WIDTH: tl.constexpr,
    HAS_FIRST: tl.constexpr,
    HAS_LSE: tl.constexpr,
    BLOCK_S: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """One query head (program 0) and one slice of the width (program 1); shapes as in `merge`."""
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
    for block in range(lo, hi, BLOCK_S):
        slot = block + tl.arange(0, BLOCK_S)
        at = slot * GROUP + head % GROUP
        weight = tl.load(lse + at, mask=slot < hi, other=float("-inf"))
        keep = (slot < hi) & (weight > float("-inf"))  # an empty split's output is never read: it may be poison
        mask = keep[:, None] & (d < WIDTH)[None, :]
        value = tl.load(partial + at[:, None] * WIDTH + d[None, :], mask=mask, other=0.0)
        m_new = tl.maximum(m, tl.max(weight, 0))
        safe = tl.where(m_new == float("-inf"), 0.0, m_new)
        weight = tl.exp2(weight - safe)
        shrink = tl.exp2(m - safe)
        acc = acc * shrink + tl.sum(value * weight[:, None], 0)
        total = total * shrink + tl.sum(weight, 0)
        m = m_new
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
) -> torch.Tensor:
    """Merges `partial` [slots, group, width] float32 with `lse` [slots, group] float32 (base 2) into `out`.

    `out` is [rows, group, width] (any contiguous view of it); row r owns slots [r * splits, (r + 1) * splits), or, with
    `first` [rows + 1] int32, slots [first[r], first[r + 1]). `out_lse` [rows, group] float32, if given, gets the merged
    base-2 log-sum-exp. A row whose splits are all empty (lse = -inf) gives zeros. Raises ValueError on bad shapes.
    """
    slots, group, width = partial.shape
    rows = out.numel() // (group * width)
    if lse.shape != (slots, group) or rows * group * width != out.numel():
        raise ValueError(f"lse must be [{slots}, {group}] and out a multiple of it but got {lse.shape} and {out.shape}")
    if not (partial.is_contiguous() and lse.is_contiguous() and out.is_contiguous()):
        raise ValueError("partial, lse and out must be contiguous")
    if first is None and rows * splits != slots:
        raise ValueError(f"splits must be slots / rows = {slots} / {rows} but got {splits}")
    block_d = min(64, triton.next_power_of_2(width))
    block_s = BLOCK_SPLITS if first is not None else min(BLOCK_SPLITS, triton.next_power_of_2(splits))
    merge_kernel[(rows * group, triton.cdiv(width, block_d))](
        partial,
        lse,
        out,
        out_lse,
        first,
        splits,
        GROUP=group,
        WIDTH=width,
        HAS_FIRST=first is not None,
        HAS_LSE=out_lse is not None,
        BLOCK_S=block_s,
        BLOCK_D=block_d,
        num_warps=4 if block_s > 8 else 1,
    )
    return out


def merge_reference(partial: torch.Tensor, lse: torch.Tensor, splits: int) -> torch.Tensor:
    """The same in float64 Torch: [rows, group, width] from `partial` [rows * splits, group, width]."""
    weight = torch.nan_to_num(torch.softmax(lse.double().view(-1, splits, lse.shape[1]) * 0.6931471805599453, dim=1))
    value = partial.double().view(-1, splits, *partial.shape[1:])
    return (torch.where(weight[..., None] > 0, value, 0.0) * weight[..., None]).sum(1)
