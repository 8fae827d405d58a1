"""Compaction: copies the tokens that an eviction keeps into a smaller paged cache.

Reads and writes every kept byte once, so its limit is the copy bandwidth.
"""

import torch
import triton
import triton.language as tl

from kernels_ref import pages


@triton.jit(do_not_specialize=["keep_b", "keep_h", "table_b", "table_h"])  # one compilation for all their values
def compact_kernel(
    source,
    target,
    keep,
    lengths,
    target_table,
    source_page,
    source_head,
    target_page,
    target_head,
    keep_b,
    keep_h,
    table_b,
    table_h,
    HEADS: tl.constexpr,
    DIM: tl.constexpr,
    PAGE: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """One row (program 0) and BLOCK_N of its kept tokens (program 1); shapes as in `compact`."""
    row = tl.program_id(0)
    b = (row // HEADS).to(tl.int64)
    head = (row % HEADS).to(tl.int64)
    i = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    valid = i < tl.load(lengths + row)
    d = tl.arange(0, BLOCK_D)
    mask = valid[:, None] & (d < DIM)[None, :]
    kept = tl.load(keep + b * keep_b + head * keep_h + i, mask=valid, other=0)
    place = tl.load(target_table + b * table_b + head * table_h + i // PAGE, mask=valid, other=0)
    at = pages.offsets(kept, i, source_page, DIM, PAGE, 1)
    to = pages.offsets(place, i, target_page, DIM, PAGE, PAGE)
    x = tl.load(source + head * source_head + at[:, None] + d[None, :], mask=mask)
    tl.store(target + head * target_head + to[:, None] + d[None, :], x, mask=mask)


def compact(
    source: torch.Tensor,
    target: torch.Tensor,
    keep: torch.Tensor,
    lengths: torch.Tensor,
    target_table: torch.Tensor,
) -> torch.Tensor:
    """Copies token keep[b, h, i], i < lengths[b, h], of `source` into place i of the row's pages in `target`.

    `source`, `target` [pages, kv_heads or 1, page, dim] of one dtype and distinct; `keep` [batch, kv_heads, n] int32 as
    page * PAGE + slot; `lengths` [batch, kv_heads] int32; `target_table` [batch, kv_heads, entries] int32, any strides.
    """
    batch, kv_heads, n = keep.shape
    page, dim = source.shape[2:]
    if target.shape[2:] != source.shape[2:] or target.dtype != source.dtype or not lengths.is_contiguous():
        raise ValueError("source and target must share page, dim and dtype, and lengths be contiguous")
    if n:
        compact_kernel[(batch * kv_heads, triton.cdiv(n, 64))](
            source,
            target,
            keep,
            lengths,
            target_table,
            source.stride(0),
            source.stride(1) if source.shape[1] > 1 else 0,
            target.stride(0),
            target.stride(1) if target.shape[1] > 1 else 0,
            keep.stride(0),
            keep.stride(1),
            target_table.stride(0),
            target_table.stride(1),
            HEADS=kv_heads,
            DIM=dim,
            PAGE=page,
            BLOCK_N=64,
            BLOCK_D=triton.next_power_of_2(dim),
            num_warps=4,
        )
    return target
