"""The device side of decode attention over a paged KV cache with split KV; `decode.launch` is its host side.

Each CTA takes one row (sequence, kv head) with its query heads and one split of its keys, and leaves a normalised
output with its log-sum-exp; `merge` joins the splits. Bytes bind it, so what counts is bytes in flight: whole key
blocks are prefetched `num_stages` deep and every table entry is read once a block, one block ahead.
"""

import triton
import triton.language as tl

from kernels_ref import online, pages

VARYING = ["splits", "split_tokens", "part_splits", "part_first"]
VARYING += ["table_b", "table_h", "length_b", "length_h"]


@triton.jit(do_not_specialize=VARYING)  # one compilation for all their values
def decode_kernel(
    q,
    k_pages,
    v_pages,
    table,
    lengths,
    k_scale,
    v_scale,
    partial,
    lse,
    tasks,
    scale,
    page_stride,
    head_stride,
    table_b,
    table_h,
    length_b,
    length_h,
    splits,
    split_tokens,
    part_splits,
    part_first,
    HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    DIM: tl.constexpr,
    PAGE: tl.constexpr,
    GRAIN: tl.constexpr,
    HAS_SCALE: tl.constexpr,
    HAS_TASKS: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    COMPUTE: tl.constexpr,
    NATIVE: tl.constexpr,
):
    """Program: (row, split), the last fastest; shapes as in `launch`."""
    # which row and split are mine?
    task = tl.program_id(0)
    if HAS_TASKS:
        row = tl.load(tasks + 4 * task)
        begin = tl.load(tasks + 4 * task + 1)
        end = tl.load(tasks + 4 * task + 2)
    else:
        row = task // splits
        begin = task % splits * split_tokens
        end = begin + split_tokens
    b = row // HEADS
    head = row % HEADS
    member = tl.arange(0, BLOCK_M)
    live = member < GROUP
    d = tl.arange(0, BLOCK_D)
    in_dim = d < DIM
    q_at = (row * GROUP + member)[:, None] * DIM + d[None, :]
    q_tile = tl.load(q + q_at, mask=live[:, None] & in_dim[None, :], other=0.0).to(COMPUTE)

    # the keys of my split
    length = tl.load(lengths + b * length_b + head * length_h)
    end = tl.minimum(end, length)
    my_table = table + b.to(tl.int64) * table_b + head * table_h
    k_head = k_pages + head.to(tl.int64) * head_stride
    v_head = v_pages + head.to(tl.int64) * head_stride
    if HAS_SCALE:
        scale *= tl.load(k_scale + head)

    m, total, acc = online.start(BLOCK_M, BLOCK_D)
    i = begin + tl.arange(0, BLOCK_N)
    entry = tl.load(my_table + i // GRAIN, mask=i < end, other=0)
    for at in range(begin, end, BLOCK_N):
        i = at + tl.arange(0, BLOCK_N)
        now = entry
        # the next block's entries: loaded only when needed, they would stall the prefetch of keys and values
        entry = tl.load(my_table + (i + BLOCK_N) // GRAIN, mask=i + BLOCK_N < end, other=0)
        where = pages.offsets(now, i, page_stride, DIM, PAGE, GRAIN)[:, None] + d[None, :]
        mask = (i < end)[:, None] & in_dim[None, :]
        k = tl.load(k_head + where, mask=mask, other=0.0)
        v = tl.load(v_head + where, mask=mask, other=0.0)
        scores = tl.dot(q_tile, tl.trans(k.to(COMPUTE))) * scale
        scores = tl.where((i < end)[None, :], scores, float("-inf"))
        p, shrink, m, total = online.update(scores, m, total)
        acc = tl.dot(p.to(COMPUTE), online.widen(v, COMPUTE, NATIVE), acc * shrink[:, None])

    out, whole = online.finish(m, total, acc)
    if HAS_SCALE:
        out *= tl.load(v_scale + head)
    slot = row * part_splits + part_first + task % splits
    if HAS_TASKS:
        slot = tl.load(tasks + 4 * task + 3)
    to = slot.to(tl.int64) * GROUP + member
    tl.store(
        partial + to[:, None] * DIM + d[None, :], out.to(partial.dtype.element_ty), mask=live[:, None] & in_dim[None, :]
    )
    tl.store(lse + to, whole, mask=live)
