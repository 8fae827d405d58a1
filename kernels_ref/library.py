"""Attention of many query rows over one run of keys, by PyTorch's own kernels: cuDNN's on a GPU.

Such a kernel gives a CTA 128 query rows and all keys. With the few rows of decode most multiprocessors would stay idle,
so the keys go in as pieces, in the batch dimension, and each piece leaves an output and a log-sum-exp for `merge`.
"""

import torch

from kernels_ref.merge import Pieces
from kernels_ref.splits import ceil_div

ROWS = 128  # query rows of a CTA of cuDNN's forward kernel
SHORTEST = 512  # keys in a piece, or starting costs more than it gains
MOST = 16


def tiles(batch: int, heads: int, kv_heads: int) -> tuple[int, int]:
    """CTAs a piece: with the queries of a group as rows of one head ('tall'), and with every query head on its own."""
    return kv_heads * ceil_div(batch * heads // kv_heads, ROWS), heads * ceil_div(batch, ROWS)


def pieces_for(q: torch.Tensor, k: torch.Tensor, sms: int) -> int:
    """Into how many pieces to cut `k` [kv_heads, tokens, dim] for `q` [batch, heads, dim]: a power of two that divides
    the tokens and fills `sms` multiprocessors once; 0 where too few queries share a key, or the types differ."""
    (batch, heads, _), (kv_heads, tokens, _) = q.shape, k.shape
    if batch * heads // kv_heads <= ROWS or k.dtype != q.dtype:
        return 0
    pieces, ctas = 1, min(tiles(batch, heads, kv_heads))
    while pieces < MOST and 2 * pieces * ctas <= sms and tokens % (2 * pieces) == 0 and tokens >= 2 * pieces * SHORTEST:
        pieces *= 2
    return pieces


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, pieces: int, scale: float | None = None) -> Pieces:
    """Attention of `q` [batch, heads, dim] over all of `k` and `v` [kv_heads, tokens, dim], piece by piece.

    `pieces` must divide the tokens.
    """
    (batch, heads, dim), (kv_heads, tokens, _) = q.shape, k.shape
    group = heads // kv_heads
    k, v = (x.view(kv_heads, pieces, tokens // pieces, dim).transpose(0, 1) for x in (k, v))
    tall, each = tiles(batch, heads, kv_heads)
    if tall < each:  # costs a copy of q
        rows = q.view(batch, kv_heads, group, dim).transpose(0, 1).reshape(kv_heads, batch * group, dim)
    else:
        rows = q.transpose(0, 1)
    rows = rows.expand(pieces, -1, -1, -1)
    if q.is_cuda:
        cudnn = torch.ops.aten._scaled_dot_product_cudnn_attention
        out, lse = cudnn(rows, k, v, None, True, scale=scale)[:2]
    else:
        k, v = (x.repeat_interleave(rows.shape[1] // kv_heads, 1) for x in (k, v))
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(rows, k, v, scale=scale)
    lse = lse.reshape(rows.shape[:3])
    if tall < each:  # [pieces, kv_heads, (sequence, member), ...]
        return Pieces(
            out.unflatten(2, (batch, group)).permute(0, 2, 1, 3, 4),
            lse.unflatten(2, (batch, group)).permute(0, 2, 1, 3),
        )
    # [pieces, (kv_head, member), sequence, ...]
    split = (kv_heads, group)
    return Pieces(out.unflatten(1, split).permute(0, 3, 1, 2, 4), lse.unflatten(1, split).permute(0, 3, 1, 2))
