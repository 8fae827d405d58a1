"""H2O's two passes beside attention: who makes room for a new token, and what attention each key got.

Scores rest beside the pages, [pages, kv_heads, page] float32. The scores' pass reads the keys again: the attention
kernel does not give its weights away.
"""

import torch
import triton
import triton.language as tl

from kernels_ref import online


@triton.jit(do_not_specialize=["width"])
def evict_kernel(
    k_pages,
    v_pages,
    scores,
    table,
    going,
    heavy,
    page_stride,
    score_stride,
    width,
    KV_HEADS: tl.constexpr,
    DIM: tl.constexpr,
    PAGE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One sequence (program 0) and kv head (program 1): the place `going` loses its token to the heaviest ones.

    It replaces the least of the first `heavy` places (if there are any) if its score is larger; then its place counts
    from 0.
    """
    b = tl.program_id(0)
    head = tl.program_id(1)
    place = tl.load(going + b)
    if place >= 0:
        mine = table + b * width
        count = tl.load(heavy + b)
        page = tl.load(mine + place // PAGE).to(tl.int64)
        from_score = scores + page * score_stride + head * PAGE + place % PAGE
        from_row = page * page_stride + head * (PAGE * DIM) + (place % PAGE) * DIM
        mass = tl.load(from_score)
        least = mass * 0.0 + float("inf")
        where = place * 0
        for at in range(0, count, BLOCK):
            i = at + tl.arange(0, BLOCK)
            held = tl.load(mine + i // PAGE, mask=i < count, other=0).to(tl.int64)
            value = tl.load(scores + held * score_stride + head * PAGE + i % PAGE, mask=i < count, other=float("inf"))
            low = tl.min(value, 0)
            index = at + tl.argmin(value, 0)
            where = tl.where(low < least, index, where)
            least = tl.minimum(low, least)
        stays = mass > least
        to_page = tl.load(mine + where // PAGE).to(tl.int64)
        to_row = to_page * page_stride + head * (PAGE * DIM) + (where % PAGE) * DIM
        d = tl.arange(0, DIM)
        moves = d < tl.where(stays, DIM, 0)
        key = tl.load(k_pages + from_row + d, mask=moves, other=0.0)
        value_row = tl.load(v_pages + from_row + d, mask=moves, other=0.0)
        tl.store(k_pages + to_row + d, key, mask=moves)
        tl.store(v_pages + to_row + d, value_row, mask=moves)
        tl.store(scores + to_page * score_stride + head * PAGE + where % PAGE, mass, mask=stays)
        tl.store(from_score, 0.0)


def evict(
    pages: tuple[torch.Tensor, torch.Tensor],
    scores: torch.Tensor,
    table: torch.Tensor,
    going: torch.Tensor,
    heavy: torch.Tensor,
    fused: bool,
) -> None:
    """Make room: `going` [batch] places that new tokens take, -1 for none; `heavy` [batch] heavy hitters' places."""
    kv_heads, page, dim = pages[0].shape[1:]
    if fused:
        evict_kernel[(len(going), kv_heads)](
            *pages,
            scores,
            table,
            going,
            heavy,
            pages[0].stride(0),
            scores.stride(0),
            table.shape[1],
            KV_HEADS=kv_heads,
            DIM=dim,
            PAGE=page,
            BLOCK=256,
            num_warps=1,  # one warp reads a score before it is overwritten
        )
        return
    for b, place in enumerate(going.tolist()):
        if place < 0:
            continue
        at, offset = int(table[b, place // page]), place % page
        i = torch.arange(int(heavy[b]))
        if not len(i):
            scores[at, :, offset] = 0.0
            continue
        for head in range(kv_heads):
            places = table[b, i // page].long()
            least, where = scores[places, head, i % page].min(0)
            if scores[at, head, offset] > least:
                to, slot = int(places[where]), int(i[where]) % page
                for x in (*pages, scores):
                    x[to, head, slot] = x[at, head, offset]
            scores[at, head, offset] = 0.0


@triton.jit(do_not_specialize=["width"])
def score_kernel(
    q,
    k_pages,
    lse,
    table,
    lengths,
    scores,
    scale,
    page_stride,
    score_stride,
    width,
    KV_HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    DIM: tl.constexpr,
    PAGE: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """One (sequence, kv head) (program 0) and BLOCK_N of its places (program 1): adds their weights, group summed."""
    row = tl.program_id(0)
    b = row // KV_HEADS
    head = row % KV_HEADS
    length = tl.load(lengths + b)
    first = tl.program_id(1) * BLOCK_N
    if first < length:
        i = first + tl.arange(0, BLOCK_N)
        m = tl.arange(0, BLOCK_M)
        d = tl.arange(0, DIM)
        inside = i < length
        page = tl.load(table + b * width + i // PAGE, mask=inside, other=0).to(tl.int64)
        at = page * page_stride + head * (PAGE * DIM) + (i % PAGE) * DIM
        key = tl.load(k_pages + at[:, None] + d[None, :], mask=inside[:, None] & (d >= 0)[None, :], other=0.0)
        live = m < GROUP
        query_at = q + row.to(tl.int64) * (GROUP * DIM) + m[:, None] * DIM + d[None, :]
        query = tl.load(query_at, mask=live[:, None] & (d >= 0)[None, :], other=0.0)
        whole = tl.load(lse + row * GROUP + m, mask=live, other=0.0)
        weight = tl.exp2(tl.dot(query, tl.trans(key)) * scale - whole[:, None])
        weight = tl.where(live[:, None] & inside[None, :], weight, 0.0)
        to = scores + page * score_stride + head * PAGE + i % PAGE
        tl.store(to, tl.load(to, mask=inside, other=0.0) + tl.sum(weight, 0), mask=inside)


def add_scores(
    q: torch.Tensor,
    k_pages: torch.Tensor,
    lse: torch.Tensor,
    table: torch.Tensor,
    lengths: torch.Tensor,
    scores: torch.Tensor,
    fused: bool,
) -> None:
    """Adds the attention of `q` [batch, heads, dim] to `scores`; `lse` [batch, heads] is its base-2 log-sum-exp."""
    batch, heads, dim = q.shape
    kv_heads, page = k_pages.shape[1:3]
    group = heads // kv_heads
    scale = dim**-0.5 * online.LOG2E
    if fused:
        score_kernel[(batch * kv_heads, triton.cdiv(table.shape[1] * page, 128))](
            q,
            k_pages,
            lse,
            table,
            lengths,
            scores,
            scale,
            k_pages.stride(0),
            scores.stride(0),
            table.shape[1],
            KV_HEADS=kv_heads,
            GROUP=group,
            DIM=dim,
            PAGE=page,
            BLOCK_M=max(16, triton.next_power_of_2(group)),
            BLOCK_N=128,
            num_warps=4,
        )
        return
    for b, length in enumerate(lengths.tolist()):
        i = torch.arange(length)
        places = table[b, i // page].long()
        keys = k_pages[places, :, i % page].float()  # [length, kv_heads, dim]
        query = q[b].view(kv_heads, group, dim).float()
        weight = torch.exp2(torch.einsum("hgd,nhd->hgn", query, keys) * scale - lse[b].view(kv_heads, group, 1))
        for head in range(kv_heads):
            scores[places, head, i % page] += weight[head].sum(0)
