"""The device side of decode attention over a paged KV cache with split KV; `decode.launch` is its host side.

Each CTA takes one row (sequence, kv head), one split of its keys and up to BLOCK_M queries, and leaves a normalised
output with its log-sum-exp; `merge` joins the splits. Bytes bind it, so what counts is bytes in flight: whole key
blocks are prefetched `num_stages` deep and every table entry is read once a block, one block ahead.
"""

import triton
import triton.language as tl

from kernels_ref import online, pages

VARYING = ["splits", "split_tokens", "q_blocks", "part_splits", "part_first"]
VARYING += ["table_b", "table_h", "length_b", "length_h"]


@triton.jit
def attend(
    q_tile,
    k_head,
    v_head,
    entry,
    i,
    end,
    scale,
    page_stride,
    m,
    total,
    acc,
    DIM: tl.constexpr,
    PAGE: tl.constexpr,
    GRAIN: tl.constexpr,
    BLOCK_D: tl.constexpr,
    COMPUTE: tl.constexpr,
    NATIVE: tl.constexpr,
    MASKED: tl.constexpr,
):
    """Takes the keys and values of tokens `i` [BLOCK_N], table entries `entry`, into m, total, acc (see online)."""
    d = tl.arange(0, BLOCK_D)
    where = pages.offsets(entry, i, page_stride, DIM, PAGE, GRAIN)[:, None] + d[None, :]
    if MASKED or DIM != BLOCK_D:
        mask = (i < end)[:, None] & (d < DIM)[None, :]
        k = tl.load(k_head + where, mask=mask, other=0.0)
        v = tl.load(v_head + where, mask=mask, other=0.0)
    else:
        k = tl.load(k_head + where)
        v = tl.load(v_head + where)
    scores = tl.dot(q_tile, tl.trans(k.to(COMPUTE))) * scale
    if MASKED:
        scores = tl.where((i < end)[None, :], scores, float("-inf"))
    p, shrink, m, total = online.update(scores, m, total)
    return m, total, tl.dot(p.to(COMPUTE), online.widen(v, COMPUTE, NATIVE), acc * shrink[:, None])


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
    q_blocks,
    part_splits,
    part_first,
    HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    SHARED: tl.constexpr,
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
    PEEL: tl.constexpr,
):
    """Program: (row, split, block of queries), the last fastest; shapes as in `launch`."""
    # which row, split and queries are mine?
    task = tl.program_id(0) // q_blocks
    q_block = tl.program_id(0) % q_blocks
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
    query = q_block * BLOCK_M + tl.arange(0, BLOCK_M)
    live = query < SHARED * GROUP
    q_row = (b * SHARED + query // GROUP) * HEADS + head  # (sequence, kv head) of each query
    member = query % GROUP
    d = tl.arange(0, BLOCK_D)
    in_dim = d < DIM
    q_at = (q_row * GROUP + member)[:, None] * DIM + d[None, :]
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
    stop = begin + (end - begin) // BLOCK_N * BLOCK_N if PEEL else end
    for at in range(begin, stop, BLOCK_N):
        i = at + tl.arange(0, BLOCK_N)
        now = entry
        # the next block's entries: loaded only when needed, they would stall the prefetch of keys and values
        entry = tl.load(my_table + (i + BLOCK_N) // GRAIN, mask=i + BLOCK_N < end, other=0)
        m, total, acc = attend(
            q_tile,
            k_head,
            v_head,
            now,
            i,
            end,
            scale,
            page_stride,
            m,
            total,
            acc,
            DIM,
            PAGE,
            GRAIN,
            BLOCK_D,
            COMPUTE,
            NATIVE,
            not PEEL,
        )
    if PEEL and stop < end:  # where arithmetic binds, only the last block pays for masks
        i = stop + tl.arange(0, BLOCK_N)
        m, total, acc = attend(
            q_tile,
            k_head,
            v_head,
            entry,
            i,
            end,
            scale,
            page_stride,
            m,
            total,
            acc,
            DIM,
            PAGE,
            GRAIN,
            BLOCK_D,
            COMPUTE,
            NATIVE,
            True,
        )

    out, whole = online.finish(m, total, acc)
    if HAS_SCALE:
        out *= tl.load(v_scale + head)
    slot = q_row * part_splits + part_first + task % splits
    if HAS_TASKS:
        slot = q_row * 0 + tl.load(tasks + 4 * task + 3)
    to = slot.to(tl.int64) * GROUP + member
    tl.store(
        partial + to[:, None] * DIM + d[None, :], out.to(partial.dtype.element_ty), mask=live[:, None] & in_dim[None, :]
    )
    tl.store(lse + to, whole, mask=live)
