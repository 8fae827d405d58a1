"""KIVI's packed pages back at 16 bits, as prefill attention wants its past: rows of tokens."""

import torch
import triton
import triton.language as tl

from kernels_ref.quantize import BLOCK, Packed, unpack


@triton.jit
def unpack_kernel(
    table,
    k_codes,
    k_scale,
    k_min,
    v_codes,
    v_scale,
    v_min,
    k,
    v,
    KV_HEADS: tl.constexpr,
    DIM: tl.constexpr,
    BITS: tl.constexpr,
    GROUP: tl.constexpr,
):
    """One page (program 0), kv head (program 1) and slot of its words (program 2); layouts as in `Packed`."""
    entry = tl.program_id(0)
    head = tl.program_id(1)
    slot = tl.program_id(2)
    ROWS: tl.constexpr = 8 * BITS
    MASK: tl.constexpr = 2**BITS - 1
    unit = tl.load(table + entry).to(tl.int64) * KV_HEADS + head
    row = tl.arange(0, ROWS)[:, None]
    d = tl.arange(0, DIM)[None, :]
    token = slot * ROWS + row
    to = ((entry * 128 + token).to(tl.int64) * KV_HEADS + head) * DIM + d
    words = tl.load(k_codes + unit * (DIM * ROWS) + (d // 32) * (ROWS * 32) + row * 32 + d % 32).to(tl.int32)
    code = ((words >> (slot * BITS)) & MASK).to(tl.float32)
    at = unit * (128 // GROUP * DIM) + (token // GROUP) * DIM + d
    key = tl.load(k_min + at).to(tl.float32) + tl.load(k_scale + at).to(tl.float32) * code
    tl.store(k + to, key.to(k.dtype.element_ty))
    words = tl.load(v_codes + unit * (DIM * ROWS) + d * ROWS + row).to(tl.int32)
    code = ((words >> (slot * BITS)) & MASK).to(tl.float32)
    at = unit * (DIM // GROUP * 128) + (d // GROUP) * 128 + token
    value = tl.load(v_min + at).to(tl.float32) + tl.load(v_scale + at).to(tl.float32) * code
    tl.store(v + to, value.to(v.dtype.element_ty))


def unpack_rows(packed: Packed, table: torch.Tensor, pages: int, k: torch.Tensor, v: torch.Tensor, fused: bool) -> None:
    """The first `pages` pages that `table` names into the first rows of `k`, `v` [.., kv_heads, dim]."""
    if not pages:
        return
    kv_heads, dim = k.shape[1:]
    if fused:
        unpack_kernel[(pages, kv_heads, 16 // packed.bits)](
            table,
            *packed.tensors,
            k,
            v,
            KV_HEADS=kv_heads,
            DIM=dim,
            BITS=packed.bits,
            GROUP=packed.group,
            num_warps=4,
        )
        return
    chosen = table[:pages].long()
    mine = Packed(packed.bits, packed.group, *(x[chosen] for x in packed.tensors))
    for rows, dense in zip((k, v), unpack(mine), strict=True):
        rows[: pages * BLOCK] = dense.transpose(1, 2).reshape(-1, kv_heads, dim)
