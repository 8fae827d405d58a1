"""Decode attention that also gives its log-sum-exp: the same kernel and merge as `kernels_ref.decode.decode`."""

import torch

from kernels_ref import online
from kernels_ref.configs import pick
from kernels_ref.decode import launch, multiprocessors, per_head
from kernels_ref.merge import merge
from kernels_ref.splits import choose


def decode_with_lse(
    q: torch.Tensor,
    k_pages: torch.Tensor,
    v_pages: torch.Tensor,
    table: torch.Tensor,
    lengths: torch.Tensor,
    fused: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output [batch, heads, dim] and base-2 log-sum-exp [batch, heads] float32, over pages and a table of them."""
    if not fused:
        return _plain(q, k_pages, v_pages, table, lengths)
    batch, heads, dim = q.shape
    kv_heads, page = k_pages.shape[1:3]
    rows, tokens, group = batch * kv_heads, table.shape[1] * page, heads // kv_heads
    config = pick(k_pages.element_size(), rows, tokens, rows * tokens * dim * k_pages.element_size() * 2)
    split = choose(rows, tokens, config.block_n, multiprocessors(q.device), config.ctas_per_sm)
    slots = rows * split.splits
    lse = torch.empty(slots, group, dtype=torch.float32, device=q.device)
    partial = torch.empty(slots, group, dim, dtype=torch.float32, device=q.device)
    tables, counts = per_head(table, kv_heads, 3), per_head(lengths, kv_heads, 2)
    launch(
        q, k_pages, v_pages, tables, counts, partial, lse, config, split, grain=page, part_splits=split.splits
    )  # fmt: skip
    out, whole = torch.empty_like(q), torch.empty(rows, group, dtype=torch.float32, device=q.device)
    merge(partial, lse, out, splits=split.splits, out_lse=whole)
    return out, whole.view(batch, heads)


def _plain(
    q: torch.Tensor, k_pages: torch.Tensor, v_pages: torch.Tensor, table: torch.Tensor, lengths: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    kv_heads, page, dim = k_pages.shape[1:]
    out, whole = torch.zeros_like(q), torch.full(q.shape[:2], float("-inf"))
    for b, length in enumerate(lengths.tolist()):
        if not length:
            continue
        used = table[b, : -(-length // page)].long()
        k, v = (x[used].transpose(0, 1).reshape(kv_heads, -1, dim)[:, :length].float() for x in (k_pages, v_pages))
        scores = q[b].view(kv_heads, -1, dim).float() @ k.transpose(1, 2) * dim**-0.5
        out[b] = (torch.softmax(scores, -1) @ v).reshape(q.shape[1], dim).to(q.dtype)
        whole[b] = torch.logsumexp(scores, -1).flatten() * online.LOG2E
    return out, whole
