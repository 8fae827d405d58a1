"""The past of a sequence out of its pages, as prefill attention wants it: rows of tokens, at 16 bits."""

import math

import torch
import triton
import triton.language as tl

from kernels_ref.executor.elementwise import FP8


@triton.jit(do_not_specialize=["tokens"])
def past_kernel(
    k_pages,
    v_pages,
    table,
    k,
    v,
    scales,
    tokens,
    page_stride,
    KV_HEADS: tl.constexpr,
    DIM: tl.constexpr,
    PAGE: tl.constexpr,
    SCALED: tl.constexpr,
):
    """One table entry (program 0) of one kv head (program 1)."""
    entry = tl.program_id(0)
    head = tl.program_id(1)
    page = tl.load(table + entry).to(tl.int64)
    slot = tl.arange(0, PAGE)[:, None]
    d = tl.arange(0, DIM)[None, :]
    token = entry * PAGE + slot
    mask = (token < tokens) & (d >= 0)
    at = page * page_stride + head * (PAGE * DIM) + slot * DIM + d
    to = (token.to(tl.int64) * KV_HEADS + head) * DIM + d
    key = tl.load(k_pages + at, mask=mask, other=0.0).to(tl.float32)
    value = tl.load(v_pages + at, mask=mask, other=0.0).to(tl.float32)
    if SCALED:
        key *= tl.load(scales)
        value *= tl.load(scales + 1)
    tl.store(k + to, key.to(k.dtype.element_ty), mask=mask)
    tl.store(v + to, value.to(v.dtype.element_ty), mask=mask)


def read_past(
    pages: tuple[torch.Tensor, torch.Tensor],
    table: torch.Tensor,
    tokens: int,
    into: tuple[torch.Tensor, torch.Tensor],
    fused: bool,
    scales: torch.Tensor | None = None,
) -> None:
    """The first `tokens` tokens that `table` [entries] int32 names into the rows of `into` [.., kv_heads, dim]."""
    if not tokens:
        return
    kv_heads, page, dim = pages[0].shape[1:]
    entries = -(-tokens // page)
    if fused:
        past_kernel[(entries, kv_heads)](
            *pages,
            table,
            *into,
            into[0] if scales is None else scales,
            tokens,
            pages[0].stride(0),
            KV_HEADS=kv_heads,
            DIM=dim,
            PAGE=page,
            SCALED=scales is not None,
            num_warps=4,
        )
        return
    for i, (stored, rows) in enumerate(zip(pages, into, strict=True)):
        chosen = stored.view(torch.uint8)[table[:entries].long()].view(stored.dtype)
        dense = chosen.transpose(1, 2).reshape(-1, kv_heads, dim)[:tokens].float()
        rows[:tokens] = dense * scales[i] if scales is not None and stored.dtype == FP8 else dense


@triton.jit
def rows_kernel(
    k_pages,
    v_pages,
    slots,
    k,
    v,
    page_stride,
    KV_HEADS: tl.constexpr,
    DIM: tl.constexpr,
    PAGE: tl.constexpr,
    TILE: tl.constexpr,
):
    """One row (program 0) and TILE of its kv heads (program 1)."""
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1) * TILE + tl.arange(0, TILE)[:, None]
    d = tl.arange(0, DIM)[None, :]
    slot = tl.load(slots + row)
    at = (slot // PAGE).to(tl.int64) * page_stride + head * (PAGE * DIM) + (slot % PAGE) * DIM + d
    to = row * (KV_HEADS * DIM) + head * DIM + d
    tl.store(k + to, tl.load(k_pages + at).to(k.dtype.element_ty))
    tl.store(v + to, tl.load(v_pages + at).to(v.dtype.element_ty))


def read_rows(
    pages: tuple[torch.Tensor, torch.Tensor], slots: torch.Tensor, into: tuple[torch.Tensor, torch.Tensor], fused: bool
) -> None:
    """The rows in `slots` [rows] (page * PAGE + offset) into the first rows of `into` [.., kv_heads, dim]."""
    kv_heads, page, dim = pages[0].shape[1:]
    if fused:
        tile = math.gcd(kv_heads, 8)
        rows_kernel[(len(slots), kv_heads // tile)](
            *pages,
            slots,
            *into,
            pages[0].stride(0),
            KV_HEADS=kv_heads,
            DIM=dim,
            PAGE=page,
            TILE=tile,
            num_warps=1 if tile <= 4 else 2,
        )
        return
    for stored, rows in zip(pages, into, strict=True):
        rows[: len(slots)] = stored[slots.long() // page, :, slots.long() % page]
