"""The device side of attention over a prefix that many sequences share: their queries are one tall tile a kv head.

Arithmetic binds here, and a warp group cannot compute a softmax while it waits for the tensor cores. So the scores of
the next key block are asked for before the softmax of this one, which then runs in their shadow (as FlashAttention 3
does within a warp group: Shah et al., arXiv 2407.08608, section 3.2). Loads need no masks: past the end they repeat the
last key, whose scores are masked once, in the last block.
"""

import triton
import triton.language as tl

from kernels_ref import online, pages

VARYING = ["sequences", "splits", "split_tokens", "q_blocks", "part_splits", "table_h"]


@triton.jit
def rows_at(head_pages, where, DIM: tl.constexpr, BLOCK_D: tl.constexpr):
    """Keys or values [tokens, BLOCK_D] at element offsets `where` [tokens]; zeros beyond DIM."""
    d = tl.arange(0, BLOCK_D)
    at = head_pages + where[:, None] + d[None, :]
    if DIM == BLOCK_D:
        return tl.load(at)
    return tl.load(at, mask=(d < DIM)[None, :], other=0.0)


@triton.jit(do_not_specialize=VARYING)
def prefix_kernel(
    q,
    k_pages,
    v_pages,
    table,
    length,
    partial,
    lse,
    scale,
    page_stride,
    head_stride,
    table_h,
    sequences,
    splits,
    split_tokens,
    q_blocks,
    part_splits,
    HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    DIM: tl.constexpr,
    PAGE: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    COMPUTE: tl.constexpr,
    NATIVE: tl.constexpr,
):
    """Program: (kv head, split, block of queries), the last fastest; shapes as in `prefix.launch`."""
    task = tl.program_id(0) // q_blocks
    head = task // splits
    split = task % splits
    query = tl.program_id(0) % q_blocks * BLOCK_M + tl.arange(0, BLOCK_M)
    live = query < sequences * GROUP
    q_row = query // GROUP * HEADS + head  # (sequence, kv head) of each query
    member = query % GROUP
    d = tl.arange(0, BLOCK_D)
    mask = live[:, None] & (d < DIM)[None, :]
    q_tile = tl.load(q + (q_row * GROUP + member)[:, None] * DIM + d[None, :], mask=mask, other=0.0).to(COMPUTE)

    k_head = k_pages + head.to(tl.int64) * head_stride
    v_head = v_pages + head.to(tl.int64) * head_stride
    my_table = table + head * table_h
    begin = split * split_tokens
    end = tl.minimum(begin + split_tokens, tl.load(length))
    m, total, acc = online.start(BLOCK_M, BLOCK_D)
    if begin < end:
        n = tl.arange(0, BLOCK_N)
        i = tl.minimum(begin + n, end - 1)
        here = pages.offsets(tl.load(my_table + i // PAGE), i, page_stride, DIM, PAGE, PAGE)
        scores = tl.dot(q_tile, tl.trans(rows_at(k_head, here, DIM, BLOCK_D).to(COMPUTE)))
        # table entries a block before they are due, or the prefetch of keys and values stalls on them
        entry = tl.load(my_table + tl.minimum(begin + BLOCK_N + n, end - 1) // PAGE)
        for at in range(begin, end - BLOCK_N, BLOCK_N):
            i = tl.minimum(at + BLOCK_N + n, end - 1)
            following = pages.offsets(entry, i, page_stride, DIM, PAGE, PAGE)
            entry = tl.load(my_table + tl.minimum(i + BLOCK_N, end - 1) // PAGE)
            v = rows_at(v_head, here, DIM, BLOCK_D)
            ahead = tl.dot(q_tile, tl.trans(rows_at(k_head, following, DIM, BLOCK_D).to(COMPUTE)))
            p, shrink, m, total = online.update(scores, m, total, scale)
            acc = tl.dot(p.to(COMPUTE), online.widen(v, COMPUTE, NATIVE), acc * shrink[:, None])
            scores = ahead
            here = following
        last = begin + (end - begin - 1) // BLOCK_N * BLOCK_N + n
        v = rows_at(v_head, here, DIM, BLOCK_D)
        p, shrink, m, total = online.update(tl.where((last < end)[None, :], scores, float("-inf")), m, total, scale)
        acc = tl.dot(p.to(COMPUTE), online.widen(v, COMPUTE, NATIVE), acc * shrink[:, None])

    out, whole = online.finish(m * scale, total, acc)
    to = (q_row * part_splits + split).to(tl.int64) * GROUP + member
    tl.store(partial + to[:, None] * DIM + d[None, :], out, mask=mask)
    tl.store(lse + to, whole, mask=live)
