"""MLA decode, absorbed: all heads attend to one latent vector a token (512 channels) and its rotary part (64).

The up-projections of keys and values are folded into the query and the output projection beforehand, so the cache is
read once as keys and values both: score = q_latent . c + q_rope . r, out = sum p c. With H heads a byte meets 2 H
multiply-adds, so 64 heads share a tile of the cache. Source: DeepSeek-V2, arXiv 2405.04434, section 2.1 and appendix C.
"""

from functools import partial

import torch
import triton
import triton.language as tl

from kernels_ref import online, pages, reference
from kernels_ref.cases import Case, Work
from kernels_ref.decode import multiprocessors
from kernels_ref.merge import merge
from kernels_ref.splits import Split, choose
from kernels_ref.timing import sets_beyond_l2


@triton.jit(do_not_specialize=["splits", "split_tokens", "table_b"])  # one compilation for all their values
def mla_kernel(
    q,
    cache,
    table,
    lengths,
    partial_out,
    lse,
    scale,
    splits,
    split_tokens,
    table_b,
    HEADS: tl.constexpr,
    LATENT: tl.constexpr,
    ROPE: tl.constexpr,
    PAGE: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Program: (block of heads, split, sequence), the first fastest; shapes as in `decode_mla`."""
    heads = tl.program_id(0) * BLOCK_H + tl.arange(0, BLOCK_H)
    split = tl.program_id(1)
    b = tl.program_id(2)
    c = tl.arange(0, LATENT)
    r = LATENT + tl.arange(0, ROPE)
    WIDTH: tl.constexpr = LATENT + ROPE
    live = heads < HEADS
    q_at = q + (b * HEADS + heads)[:, None] * WIDTH
    q_latent = tl.load(q_at + c[None, :], mask=live[:, None], other=0.0)
    q_rope = tl.load(q_at + r[None, :], mask=live[:, None], other=0.0)
    begin = split * split_tokens
    end = tl.minimum(begin + split_tokens, tl.load(lengths + b))
    m, mass, acc = online.start(BLOCK_H, LATENT)
    n = tl.arange(0, BLOCK_N)
    i = tl.minimum(begin + n, end - 1)  # past the end the last token repeats, and its scores are masked
    entry = tl.load(table + b * table_b + i // PAGE, mask=i >= 0, other=0)
    for at in range(begin, end, BLOCK_N):
        i = tl.minimum(at + n, end - 1)
        token = cache + pages.offsets(entry, i, PAGE * WIDTH, WIDTH, PAGE, PAGE)[:, None]
        # the next block's entries: loaded only when needed, they would stall the prefetch of the cache
        entry = tl.load(table + b * table_b + tl.minimum(i + BLOCK_N, end - 1) // PAGE)
        latent = tl.load(token + c[None, :])
        rope = tl.load(token + r[None, :])
        scores = tl.dot(q_rope, tl.trans(rope), tl.dot(q_latent, tl.trans(latent)))
        scores = tl.where((at + n < end)[None, :], scores, float("-inf"))
        p, shrink, m, mass = online.update(scores, m, mass, scale)
        acc = tl.dot(p.to(latent.dtype), latent, acc * shrink[:, None])
    out, whole = online.finish(m * scale, mass, acc)
    slot = (b * splits + split).to(tl.int64) * HEADS + heads
    tl.store(partial_out + slot[:, None] * LATENT + c[None, :], out, mask=live[:, None])
    tl.store(lse + slot, whole, mask=live)


def decode_mla(
    q: torch.Tensor,
    cache: torch.Tensor,
    table: torch.Tensor,
    lengths: torch.Tensor,
    scale: float,
    rope: int = 64,
    *,
    out: torch.Tensor | None = None,
    split: Split | None = None,
    block_n: int = 64,
    warps: int = 8,
    stages: int = 2,
) -> torch.Tensor:
    """Latent attention output [batch, heads, width - rope] in `q`'s dtype.

    `q` [batch, heads, width] (absorbed latent part, then rotary part); `cache` [pages, page, width] of its dtype;
    `table` [batch, entries] int32; `lengths` [batch] int32. `width - rope` and `rope` must be powers of two. `scale` is
    that of the model before absorption, (128 + 64) ** -0.5 in DeepSeek-V2. Raises ValueError on shapes that do not fit.
    """
    batch, heads, width = q.shape
    latent = width - rope
    if cache.shape[2] != width or latent & (latent - 1) or rope & (rope - 1) or not rope >= 16:
        raise ValueError(f"cache must be [pages, page, {width}], its parts powers of two >= 16 but got {cache.shape}")
    if not (q.is_contiguous() and cache.is_contiguous()):
        raise ValueError("q and cache must be contiguous")
    block_h = max(16, min(64, triton.next_power_of_2(heads)))
    blocks = triton.cdiv(heads, block_h)
    tokens = table.shape[1] * cache.shape[1]
    split = split or choose(batch * blocks, tokens, block_n, multiprocessors(q.device), 1)
    slots = batch * split.splits
    part = torch.empty(slots, heads, latent, dtype=torch.float32, device=q.device)
    lse = torch.empty(slots, heads, dtype=torch.float32, device=q.device)
    mla_kernel[(blocks, split.splits, batch)](
        q,
        cache,
        table,
        lengths,
        part,
        lse,
        scale * online.LOG2E,
        split.splits,
        split.tokens,
        table.stride(0),
        HEADS=heads,
        LATENT=latent,
        ROPE=rope,
        PAGE=cache.shape[1],
        BLOCK_H=block_h,
        BLOCK_N=block_n,
        num_warps=warps,
        num_stages=stages,
    )
    out = torch.empty(batch, heads, latent, dtype=q.dtype, device=q.device) if out is None else out
    return merge(part, lse, out, splits=split.splits)


def mla_reference(
    q: torch.Tensor,
    cache: torch.Tensor,
    table: torch.Tensor,
    lengths: torch.Tensor,
    scale: float,
    rope: int = 64,
) -> torch.Tensor:
    """The same in float64: one kv head whose value is the latent part of its key."""
    keys = cache[table.long()].flatten(1, 2)[:, None]
    return reference.attention(q, keys, keys[..., :-rope], lengths, scale)[0]


def _work(batch: int, heads: int, tokens: int) -> Work:
    entries = tokens // 64
    q = torch.randn(batch, heads, 576, device="cuda", dtype=torch.bfloat16)
    size = batch * tokens * 576 * 2
    sets = sets_beyond_l2(size)
    caches = [torch.randn(batch * entries, 64, 576, device="cuda", dtype=torch.bfloat16) for _ in range(sets)]
    table = torch.randperm(batch * entries, device="cuda").view(batch, entries).int()
    n = torch.full((batch,), tokens, device="cuda", dtype=torch.int32)
    return Work(
        lambda i, **config: decode_mla(q, caches[i], table, n, 192**-0.5, **config),
        sets,
        size + q.nbytes * 17 // 9,
        2 * batch * heads * tokens * (576 + 512),
    )


CASES = [
    Case("mla", {"batch": b, "heads": h, "tokens": t}, partial(_work, b, h, t), quick=t == 8192)
    for b, h, t in [(16, 128, 8192), (64, 128, 4096), (64, 16, 4096)]
]
