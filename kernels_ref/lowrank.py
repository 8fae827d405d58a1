"""Decode over low-rank keys: rebuild each key from its latent, rotate it, attend.

The cache holds, per token, `rank` numbers that all kv heads of a layer share; head h's key before RoPE is
latent @ up[h]. RoPE depends on the position and cannot be folded into the query, so each step rebuilds every key: per
kv head 2 rank dim FLOPs a token beside the 4 group dim of attention. Values are full, or latents too: then `v` has one
shared head, the output is in the latent space, and the caller's output projection takes it up. Rows are contiguous,
not paged.
Source: Eigen Attention (arXiv 2408.05646), ShadowKV (arXiv 2410.21465) for keys; RoPE in the half-split form.
"""

from functools import partial

import torch
import triton
import triton.language as tl

from kernels_ref import online, reference
from kernels_ref.cases import Case, Work
from kernels_ref.decode import multiprocessors
from kernels_ref.merge import merge
from kernels_ref.splits import Split, choose
from kernels_ref.timing import sets_beyond_l2


@triton.jit(do_not_specialize=["tokens", "splits", "split_tokens"])  # one compilation for all their values
def lowrank_kernel(
    q,
    latent,
    up,
    cos,
    sin,
    v,
    lengths,
    partial_out,
    lse,
    scale,
    tokens,
    v_b,
    v_h,
    splits,
    split_tokens,
    KV_HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    RANK: tl.constexpr,
    HALF: tl.constexpr,
    V_DIM: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_HALF: tl.constexpr,
    BLOCK_V: tl.constexpr,
):
    """Program: (row, split); a row is (sequence, kv head); shapes as in `decode_lowrank`."""
    row = tl.program_id(0)
    split = tl.program_id(1)
    b = row // KV_HEADS
    head = row % KV_HEADS
    member = tl.arange(0, BLOCK_M)
    live = member < GROUP
    h = tl.arange(0, BLOCK_HALF)
    in_half = h < HALF
    e = tl.arange(0, BLOCK_V)
    q_at = q + (row * GROUP + member)[:, None] * (2 * HALF) + h[None, :]
    q_mask = live[:, None] & in_half[None, :]
    q_low = tl.load(q_at, mask=q_mask, other=0.0)
    q_high = tl.load(q_at + HALF, mask=q_mask, other=0.0)
    begin = split * split_tokens
    end = tl.minimum(begin + split_tokens, tl.load(lengths + b))
    m, mass, acc = online.start(BLOCK_M, BLOCK_V)
    for at in range(begin, end, BLOCK_N):
        i = at + tl.arange(0, BLOCK_N)
        valid = i < end
        # rebuild: both halves of the key, channels [0, HALF) and [HALF, 2 HALF)
        low = tl.zeros([BLOCK_N, BLOCK_HALF], tl.float32)
        high = tl.zeros([BLOCK_N, BLOCK_HALF], tl.float32)
        token = b.to(tl.int64) * tokens + i
        for first in range(0, RANK, BLOCK_R):
            rank = first + tl.arange(0, BLOCK_R)
            a_mask = valid[:, None] & (rank < RANK)[None, :]
            a = tl.load(latent + token[:, None] * RANK + rank[None, :], mask=a_mask, other=0.0)
            u_at = up + (head * RANK + rank)[:, None] * (2 * HALF) + h[None, :]
            u_mask = (rank < RANK)[:, None] & in_half[None, :]
            low = tl.dot(a, tl.load(u_at, mask=u_mask, other=0.0), low)
            high = tl.dot(a, tl.load(u_at + HALF, mask=u_mask, other=0.0), high)
        # rotate
        turn = i[:, None] * HALF + h[None, :]
        turn_mask = valid[:, None] & in_half[None, :]
        c = tl.load(cos + turn, mask=turn_mask, other=0.0)
        s = tl.load(sin + turn, mask=turn_mask, other=0.0)
        k_low = (low * c - high * s).to(q_low.dtype)
        k_high = (high * c + low * s).to(q_low.dtype)
        # attend
        scores = tl.dot(q_high, tl.trans(k_high), tl.dot(q_low, tl.trans(k_low))) * scale
        p, shrink, m, mass = online.update(tl.where(valid[None, :], scores, float("-inf")), m, mass)
        v_at = v + b.to(tl.int64) * v_b + head.to(tl.int64) * v_h + i[:, None].to(tl.int64) * V_DIM + e[None, :]
        value = tl.load(v_at, mask=valid[:, None] & (e < V_DIM)[None, :], other=0.0)
        acc = tl.dot(p.to(value.dtype), value, acc * shrink[:, None])
    out, whole = online.finish(m, mass, acc)
    slot = (row * splits + split).to(tl.int64) * GROUP + member
    tl.store(partial_out + slot[:, None] * V_DIM + e[None, :], out, mask=live[:, None] & (e < V_DIM)[None, :])
    tl.store(lse + slot, whole, mask=live)


def decode_lowrank(
    q: torch.Tensor,
    latent: torch.Tensor,
    up: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    v: torch.Tensor,
    lengths: torch.Tensor,
    *,
    out: torch.Tensor | None = None,
    split: Split | None = None,
    block_n: int = 64,
    warps: int = 4,
    stages: int = 3,
) -> torch.Tensor:
    """Attention output [batch, heads, value_dim] in `q`'s dtype.

    `q` [batch, heads, dim], already rotated; `latent` [batch, tokens, rank]; `up` [kv_heads, rank, dim]; `cos`, `sin`
    [tokens or more, dim / 2] float32 by position; `v` [batch, kv_heads or 1, tokens, value_dim]; `lengths` [batch]
    int32. All contiguous, q, latent, up and v of one dtype. Raises ValueError on shapes that do not fit.
    """
    batch, heads, dim = q.shape
    tokens, rank = latent.shape[1:]
    kv_heads, v_dim = up.shape[0], v.shape[3]
    if up.shape[1:] != (rank, dim) or heads % kv_heads or v.shape[1] not in (1, kv_heads) or v.shape[2] != tokens:
        raise ValueError(
            f"up must be [kv_heads, {rank}, {dim}], v [batch, kv_heads or 1, {tokens}, value_dim] "
            f"but got {up.shape}, {v.shape}"
        )
    if not all(x.is_contiguous() for x in (q, latent, up, cos, sin, v)) or len(cos) < tokens:
        raise ValueError("inputs must be contiguous, and cos and sin cover all tokens")
    rows, group = batch * kv_heads, heads // kv_heads
    split = split or choose(rows, tokens, block_n, multiprocessors(q.device), 2)
    slots = rows * split.splits
    part = torch.empty(slots, group, v_dim, dtype=torch.float32, device=q.device)
    lse = torch.empty(slots, group, dtype=torch.float32, device=q.device)
    power = triton.next_power_of_2
    lowrank_kernel[(rows, split.splits)](
        q,
        latent,
        up,
        cos,
        sin,
        v,
        lengths,
        part,
        lse,
        dim**-0.5 * online.LOG2E,
        tokens,
        v.stride(0),
        v.stride(1) if v.shape[1] > 1 else 0,
        split.splits,
        split.tokens,
        KV_HEADS=kv_heads,
        GROUP=group,
        RANK=rank,
        HALF=dim // 2,
        V_DIM=v_dim,
        BLOCK_M=max(16, power(group)),
        BLOCK_N=block_n,
        BLOCK_R=32 if rank % 64 else 64,
        BLOCK_HALF=max(16, power(dim // 2)),
        BLOCK_V=max(16, power(v_dim)),
        num_warps=warps,
        num_stages=stages,
    )
    out = torch.empty(batch, heads, v_dim, dtype=q.dtype, device=q.device) if out is None else out
    return merge(part, lse, out, splits=split.splits)


def rotary(tokens: int, dim: int, device: str, base: float = 10000.0) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and sin [tokens, dim / 2] float32 of position times base ** (-2 i / dim)."""
    rates = base ** (-torch.arange(0, dim, 2, dtype=torch.float64, device=device) / dim)
    angle = torch.arange(tokens, dtype=torch.float64, device=device)[:, None] * rates
    return angle.cos().float(), angle.sin().float()


def lowrank_reference(
    q: torch.Tensor,
    latent: torch.Tensor,
    up: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
    v: torch.Tensor,
    lengths: torch.Tensor,
) -> torch.Tensor:
    """The same in float64: all keys rebuilt and rotated at once."""
    k = latent.double()[:, None] @ up.double()[None]
    low, high = k.chunk(2, -1)
    c, s = cos[: k.shape[2]].double(), sin[: k.shape[2]].double()
    k = torch.cat([low * c - high * s, high * c + low * s], -1)
    return reference.attention(q, k, v.expand(-1, up.shape[0], -1, -1), lengths)[0]


def _work(batch: int, tokens: int, rank: int, value_rank: int) -> Work:
    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, device="cuda", dtype=torch.bfloat16)

    kv_heads, group, dim = 8, 4, 128
    v_heads, v_dim = (1, value_rank) if value_rank else (kv_heads, dim)
    size = batch * tokens * (rank + v_heads * v_dim) * 2
    sets = sets_beyond_l2(size)
    caches = [(random(batch, tokens, rank), random(batch, v_heads, tokens, v_dim)) for _ in range(sets)]
    q, up = random(batch, kv_heads * group, dim), random(kv_heads, rank, dim) * rank**-0.5
    cos, sin = rotary(tokens, dim, "cuda")
    n = torch.full((batch,), tokens, device="cuda", dtype=torch.int32)
    flops = 2 * batch * kv_heads * tokens * (rank * dim + group * (dim + v_dim))
    return Work(
        lambda i, **config: decode_lowrank(q, caches[i][0], up, cos, sin, caches[i][1], n, **config),
        sets,
        size + up.nbytes + 2 * cos.nbytes + 2 * q.nbytes,
        flops,
    )


CASES = [
    Case("lowrank", {"batch": 8, "tokens": t, "rank": r, "value_rank": vr}, partial(_work, 8, t, r, vr), t == 8192)
    for t, r, vr in [(8192, 160, 0), (32768, 160, 0), (32768, 256, 256), (32768, 512, 0)]
]
