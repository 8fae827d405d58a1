"""The element-wise passes of a decoder, fused: residual + norm, rotary + cache write, SiLU x up; each also in Torch.

The Torch versions run where there is no GPU, and say what the kernels mean.
"""

import math

import torch
import triton
import triton.language as tl

FP8 = torch.float8_e4m3fn
FP8_LARGEST = 448.0


@triton.jit
def add_norm_kernel(x, residual, weight, out, eps, WIDTH: tl.constexpr, BLOCK: tl.constexpr, ADD: tl.constexpr):
    """One row: residual += x, out = residual / rms(residual) * weight."""
    row = tl.program_id(0).to(tl.int64) * WIDTH
    at = tl.arange(0, BLOCK)
    mask = at < WIDTH
    h = tl.load(residual + row + at, mask=mask, other=0.0).to(tl.float32)
    if ADD:
        h += tl.load(x + row + at, mask=mask, other=0.0).to(tl.float32)
        tl.store(residual + row + at, h.to(residual.dtype.element_ty), mask=mask)
    inverse = 1.0 / tl.sqrt(tl.sum(h * h, 0) / WIDTH + eps)
    w = tl.load(weight + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(out + row + at, (h * inverse * w).to(out.dtype.element_ty), mask=mask)


def add_norm(
    x: torch.Tensor | None, residual: torch.Tensor, weight: torch.Tensor, eps: float, fused: bool
) -> torch.Tensor:
    """`residual` [rows, width] += x, in place; its norm, [rows, width]."""
    rows, width = residual.shape
    if not fused:
        h = residual.float() if x is None else residual.float() + x.float()
        if x is not None:
            residual.copy_(h)
        return (h * torch.rsqrt(h.square().mean(-1, keepdim=True) + eps) * weight.float()).to(residual.dtype)
    out = torch.empty_like(residual)
    block = triton.next_power_of_2(width)
    add_norm_kernel[(rows,)](
        residual if x is None else x,
        residual,
        weight,
        out,
        eps,
        WIDTH=width,
        BLOCK=block,
        ADD=x is not None,
        num_warps=max(1, min(8, block // 256)),
    )
    return out


@triton.jit
def silu_mul_kernel(x, out, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """One row and BLOCK columns of silu(x[:, :WIDTH]) * x[:, WIDTH:]."""
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = at < WIDTH
    gate = tl.load(x + row * 2 * WIDTH + at, mask=mask, other=0.0).to(tl.float32)
    up = tl.load(x + row * 2 * WIDTH + WIDTH + at, mask=mask, other=0.0).to(tl.float32)
    value = gate / (1.0 + tl.exp(-gate)) * up
    tl.store(out + row * WIDTH + at, value.to(out.dtype.element_ty), mask=mask)


def silu_mul(x: torch.Tensor, fused: bool) -> torch.Tensor:
    """silu(gate) * up of `x` [rows, 2 * width], gate first: [rows, width]."""
    rows, width = x.shape[0], x.shape[1] // 2
    if not fused:
        gate, up = x.float().chunk(2, -1)
        return (torch.nn.functional.silu(gate) * up).to(x.dtype)
    out = torch.empty(rows, width, dtype=x.dtype, device=x.device)
    silu_mul_kernel[(rows, triton.cdiv(width, 1024))](x, out, WIDTH=width, BLOCK=1024, num_warps=4)
    return out


def rotations(theta: float, dim: int, positions: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines [positions, dim / 2] float32 of rotary embedding (arXiv:2104.09864)."""
    frequency = theta ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    angle = torch.arange(positions, dtype=torch.float64)[:, None] * frequency
    return angle.cos().float().to(device), angle.sin().float().to(device)


@triton.jit
def rotary_kernel(
    qkv,
    cosines,
    sines,
    positions,
    slots,
    q_out,
    k_pages,
    v_pages,
    scales,
    page_stride,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    DIM: tl.constexpr,
    PAGE: tl.constexpr,
    TILE: tl.constexpr,
    WRITE: tl.constexpr,
    SCALED: tl.constexpr,
):
    """One token and TILE heads: queries go rotated to `q_out`, keys stay rotated in `qkv`, both rows to their slot."""
    token = tl.program_id(0)
    first = tl.program_id(1) * TILE
    HALF: tl.constexpr = DIM // 2
    head = first + tl.arange(0, TILE)[:, None]
    i = tl.arange(0, HALF)[None, :]
    here = qkv + token.to(tl.int64) * ((HEADS + 2 * KV_HEADS) * DIM) + head * DIM + i
    low = tl.load(here).to(tl.float32)
    high = tl.load(here + HALF).to(tl.float32)
    turns = first < HEADS + KV_HEADS
    position = tl.load(positions + token).to(tl.int64)
    cosine = tl.load(cosines + position * HALF + i)
    sine = tl.load(sines + position * HALF + i)
    cosine = tl.where(turns, cosine, 1.0)
    sine = tl.where(turns, sine, 0.0)
    new_low = low * cosine - high * sine
    new_high = high * cosine + low * sine
    query = (first < HEADS) & (head >= 0) & (i >= 0)
    key = (first >= HEADS) & turns & (head >= 0) & (i >= 0)
    value = (first >= HEADS + KV_HEADS) & (head >= 0) & (i >= 0)
    kind = qkv.dtype.element_ty
    to = q_out + token.to(tl.int64) * (HEADS * DIM) + head * DIM + i
    tl.store(to, new_low.to(kind), mask=query)
    tl.store(to + HALF, new_high.to(kind), mask=query)
    tl.store(here, new_low.to(kind), mask=key)
    tl.store(here + HALF, new_high.to(kind), mask=key)
    if WRITE:
        slot = tl.load(slots + token)
        live = slot >= 0
        at = (slot // PAGE).to(tl.int64) * page_stride + (slot % PAGE) * DIM + i
        k_at = k_pages + at + (head - HEADS) * (PAGE * DIM)
        v_at = v_pages + at + (head - HEADS - KV_HEADS) * (PAGE * DIM)
        stored = k_pages.dtype.element_ty
        if SCALED:
            scale = tl.where(first < HEADS + KV_HEADS, tl.load(scales), tl.load(scales + 1))
            new_low = tl.minimum(tl.maximum(new_low / scale, -448.0), 448.0)
            new_high = tl.minimum(tl.maximum(new_high / scale, -448.0), 448.0)
        tl.store(k_at, new_low.to(stored), mask=key & live)
        tl.store(k_at + HALF, new_high.to(stored), mask=key & live)
        tl.store(v_at, new_low.to(stored), mask=value & live)
        tl.store(v_at + HALF, new_high.to(stored), mask=value & live)


def rotary(
    qkv: torch.Tensor,
    turns: tuple[torch.Tensor, torch.Tensor],
    positions: torch.Tensor,
    heads: int,
    kv_heads: int,
    fused: bool,
    slots: torch.Tensor | None = None,
    pages: tuple[torch.Tensor, torch.Tensor] | None = None,
    scales: torch.Tensor | None = None,
) -> torch.Tensor:
    """Rotates `qkv` [tokens, (heads + 2 kv_heads) * dim] by `positions` [tokens] int32: queries [tokens, heads, dim].

    Keys are rotated in place. With `pages` (keys and values [pages, kv_heads, page, dim]) each token's row goes to its
    place in `slots` [tokens] int32 (page * PAGE + offset; -1: nowhere); `scales` [2] divide what fp8 pages store.
    """
    tokens, dim = qkv.shape[0], turns[0].shape[1] * 2
    if not fused:
        return _rotary_plain(qkv, turns, positions, heads, kv_heads, slots, pages, scales)
    out = torch.empty(tokens, heads, dim, dtype=qkv.dtype, device=qkv.device)
    tile = math.gcd(math.gcd(heads, kv_heads), 8)
    k_pages, v_pages = pages if pages is not None else (qkv, qkv)
    rotary_kernel[(tokens, (heads + 2 * kv_heads) // tile)](
        qkv,
        *turns,
        positions,
        positions if slots is None else slots,
        out,
        k_pages,
        v_pages,
        turns[0] if scales is None else scales,
        k_pages.stride(0),
        HEADS=heads,
        KV_HEADS=kv_heads,
        DIM=dim,
        PAGE=k_pages.shape[2] if pages is not None else 1,
        TILE=tile,
        WRITE=pages is not None and slots is not None,
        SCALED=scales is not None,
        num_warps=1 if tile <= 4 else 2,
    )
    return out


def _rotary_plain(qkv, turns, positions, heads, kv_heads, slots, pages, scales):  # type: ignore[no-untyped-def]
    dim = turns[0].shape[1] * 2
    x = qkv.view(len(qkv), heads + 2 * kv_heads, dim)
    low, high = x[:, : heads + kv_heads].float().chunk(2, -1)
    cosine, sine = (turn[positions.long()][:, None] for turn in turns)
    rotated = torch.cat([low * cosine - high * sine, high * cosine + low * sine], -1).to(qkv.dtype)
    x[:, heads : heads + kv_heads] = rotated[:, heads:]
    if pages is not None and slots is not None:
        live = slots >= 0
        write_rows(x[live, heads : heads + kv_heads], x[live, heads + kv_heads :], slots[live], pages, False, scales)
    return rotated[:, :heads].contiguous()


@triton.jit
def write_kernel(
    k,
    v,
    slots,
    k_pages,
    v_pages,
    row_stride,
    page_stride,
    KV_HEADS: tl.constexpr,
    DIM: tl.constexpr,
    PAGE: tl.constexpr,
    TILE: tl.constexpr,
):
    """One token and TILE kv heads of keys and values to the token's slot."""
    token = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1) * TILE + tl.arange(0, TILE)[:, None]
    d = tl.arange(0, DIM)[None, :]
    slot = tl.load(slots + token)
    live = (slot >= 0) & (head < KV_HEADS) & (d >= 0)
    at = (slot // PAGE).to(tl.int64) * page_stride + head * (PAGE * DIM) + (slot % PAGE) * DIM + d
    source = token * row_stride + head * DIM + d
    stored = k_pages.dtype.element_ty
    tl.store(k_pages + at, tl.load(k + source, mask=live, other=0.0).to(stored), mask=live)
    tl.store(v_pages + at, tl.load(v + source, mask=live, other=0.0).to(stored), mask=live)


def write_rows(
    k: torch.Tensor,
    v: torch.Tensor,
    slots: torch.Tensor,
    pages: tuple[torch.Tensor, torch.Tensor],
    fused: bool,
    scales: torch.Tensor | None = None,
) -> None:
    """Writes `k`, `v` [tokens, kv_heads, dim] (rows of one stride) to `slots` [tokens] of `pages`, as they are stored.

    A slot of -1 (fused only) is skipped.
    """
    tokens, kv_heads, dim = k.shape
    page = pages[0].shape[2]
    if fused:
        tile = math.gcd(kv_heads, 8)
        write_kernel[(tokens, kv_heads // tile)](
            k,
            v,
            slots,
            *pages,
            k.stride(0),
            pages[0].stride(0),
            KV_HEADS=kv_heads,
            DIM=dim,
            PAGE=page,
            TILE=tile,
            num_warps=1 if tile <= 4 else 2,
        )
        return
    number, offset = slots.long() // page, slots.long() % page
    for i, (rows, into) in enumerate(((k, pages[0]), (v, pages[1]))):
        if into.dtype == FP8:
            scaled = rows.float() / (1.0 if scales is None else scales[i])
            stored = scaled.clamp(-FP8_LARGEST, FP8_LARGEST).to(FP8)
            into.view(torch.uint8)[number, :, offset] = stored.view(torch.uint8)
        else:
            into[number, :, offset] = rows
