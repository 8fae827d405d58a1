"""Shared-prefix decode: the prefix is attended once for all sequences, the suffixes each, and merged by log-sum-exp.

The queries of all sequences that share a prefix form one tall matrix per kv head, so the prefix's keys are read once
and multiplied like a GEMM. Prefix and suffixes leave partial results in one array and a single merge joins them.
Source: Hydragen (arXiv 2402.05099); cascade inference (FlashInfer, 2024).
"""

import torch
import triton
import triton.language as tl

from kernels_ref import online
from kernels_ref.configs import Config, pick, pick_prefix
from kernels_ref.decode import check, launch, multiprocessors, per_head
from kernels_ref.merge import merge
from kernels_ref.prefix_kernel import prefix_kernel
from kernels_ref.splits import Split, ceil_div, choose


def launch_prefix(
    q: torch.Tensor,
    k_pages: torch.Tensor,
    v_pages: torch.Tensor,
    table: torch.Tensor,
    length: torch.Tensor,
    partial: torch.Tensor,
    lse: torch.Tensor,
    config: Config,
    split: Split,
    *,
    scale: float | None = None,
    part_splits: int = 1,
    follows: bool = False,
) -> None:
    """Issues the kernel. `q` [sequences, kv_heads * group, dim]; pages [pages, kv_heads or 1, page, dim]; `table`
    [kv_heads, entries] int32 (stride 0 for what heads share) and `length` [1] int32 name the prefix.

    Split s of (sequence, kv head) r goes to slot r * part_splits + s of `partial` [slots, group, dim] and `lse` [slots,
    group] float32 (base 2). `follows`: may start before the kernel issued last on this stream ends. Unchecked.
    """
    sequences, kv_heads = q.shape[0], table.shape[0]
    group, dim, page = q.shape[1] // kv_heads, q.shape[2], k_pages.shape[2]
    q_blocks = ceil_div(sequences * group, config.block_m)
    prefix_kernel[(kv_heads * split.splits * q_blocks,)](
        q,
        k_pages,
        v_pages,
        table,
        length,
        partial,
        lse,
        (dim**-0.5 if scale is None else scale) * online.LOG2E,
        k_pages.stride(0),
        k_pages.stride(1) if k_pages.shape[1] > 1 else 0,
        table.stride(0),
        sequences,
        split.splits,
        split.tokens,
        q_blocks,
        part_splits,
        HEADS=kv_heads,
        GROUP=group,
        DIM=dim,
        PAGE=page,
        BLOCK_M=config.block_m,
        BLOCK_N=config.block_n,
        BLOCK_D=triton.next_power_of_2(dim),
        COMPUTE=tl.bfloat16 if k_pages.dtype == torch.bfloat16 else tl.float16,
        NATIVE=q.is_cuda,
        FOLLOWS=follows,
        num_warps=config.warps,
        num_stages=config.stages,
        **({"maxnreg": config.registers} if config.registers else {}),
        **({"launch_pdl": True} if follows else {}),
    )


def decode_shared(
    q: torch.Tensor,
    k_pages: torch.Tensor,
    v_pages: torch.Tensor,
    prefix_table: torch.Tensor,
    prefix_tokens: torch.Tensor,
    table: torch.Tensor,
    lengths: torch.Tensor,
    *,
    scale: float | None = None,
    out: torch.Tensor | None = None,
    config: Config | None = None,
    prefix_config: Config | None = None,
) -> torch.Tensor:
    """Attention over prefix + own suffix, [batch, heads, dim].

    `q` and pages as in `decode.decode`; `prefix_table` [entries] int32 and `prefix_tokens` [1] int32 name the shared
    tokens, `table` [batch, entries] and `lengths` [batch] int32 each sequence's own.
    """
    batch, heads, dim = q.shape
    kv_heads, page = k_pages.shape[1:3]
    check(q, k_pages, v_pages, kv_heads, page)
    group, sms, size = heads // kv_heads, multiprocessors(q.device), k_pages.element_size()
    prefix_config = prefix_config or pick_prefix(batch * group)
    q_blocks = ceil_div(batch * group, prefix_config.block_m)
    prefix = len(prefix_table) * page
    before = choose(kv_heads * q_blocks, prefix, prefix_config.block_n, sms, prefix_config.ctas_per_sm)
    suffix_tokens = table.shape[1] * page
    config = config or pick(size, batch * kv_heads, suffix_tokens, batch * kv_heads * suffix_tokens * dim * size * 2)
    after = choose(batch * kv_heads, suffix_tokens, config.block_n, sms, config.ctas_per_sm)
    splits = before.splits + after.splits
    partial = torch.empty(batch * kv_heads * splits, group, dim, dtype=torch.float32, device=q.device)
    lse = torch.empty(batch * kv_heads * splits, group, dtype=torch.float32, device=q.device)
    # one stream, three kernels: each may start when the one before has no CTA left to start
    launch(
        q,
        k_pages,
        v_pages,
        per_head(table, kv_heads, 3),
        per_head(lengths, kv_heads, 2),
        partial,
        lse,
        config,
        after,
        grain=page,
        scale=scale,
        part_splits=splits,
        part_first=before.splits,
    )
    launch_prefix(
        q,
        k_pages,
        v_pages,
        prefix_table.expand(kv_heads, -1),
        prefix_tokens,
        partial,
        lse,
        prefix_config,
        before,
        scale=scale,
        part_splits=splits,
        follows=q.is_cuda,
    )
    out = torch.empty_like(q) if out is None else out
    return merge(partial, lse, out, splits=splits, follows=q.is_cuda)
