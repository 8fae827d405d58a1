"""Shared-prefix decode: the prefix is attended once for all sequences, the suffixes each, and merged by log-sum-exp.

The queries of all sequences that share a prefix form one tall matrix per kv head, so the prefix's keys are read once
and multiplied like a GEMM; the same kernel as `decode`, with `shared` sequences a row. Both parts leave partial results
in one array and a single merge joins them. Source: Hydragen (arXiv 2402.05099); cascade inference (FlashInfer, 2024).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial as partial_launch

import torch

from kernels_ref.configs import Config, pick, pick_prefix
from kernels_ref.decode import check, launch, multiprocessors, per_head
from kernels_ref.merge import merge
from kernels_ref.splits import ceil_div, choose


@contextmanager
def beside(work: Callable[[], None], device: torch.device) -> Iterator[None]:
    """Issues `work` on a second stream (the current one on the CPU), at the same time as the body; joins at its end.

    The prefix binds on arithmetic, the suffixes on bytes and launches: together they cost less than in turn.
    """
    if device.type != "cuda":
        work()
        yield
        return
    here, other = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    other.wait_stream(here)
    with torch.cuda.stream(other):
        work()
    yield
    here.wait_stream(other)


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
    suffixes = partial_launch(
        launch,
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
    with beside(suffixes, q.device):
        launch(
            q,
            k_pages,
            v_pages,
            per_head(prefix_table[None], kv_heads, 3),
            per_head(prefix_tokens, kv_heads, 2),
            partial,
            lse,
            prefix_config,
            before,
            grain=page,
            scale=scale,
            shared=batch,
            part_splits=splits,
        )
    return merge(partial, lse, torch.empty_like(q) if out is None else out, splits=splits)
