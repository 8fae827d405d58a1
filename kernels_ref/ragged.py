"""Decode over ragged heads: every kv head keeps its own number of tokens, in its own pages.

Equal splits per head would make the CTAs of the longest head finish last. Instead every row is cut into chunks of about
one size, and the kernel gets a list of tasks, the longest first: no empty CTA, and the last to start end together. The
plan depends on the lengths only, so an engine makes it once a step for all layers that share them.
"""

from dataclasses import dataclass

import torch

from kernels_ref.configs import Config
from kernels_ref.decode import check, launch, multiprocessors, per_head
from kernels_ref.merge import merge
from kernels_ref.splits import Split, chunk_blocks

CONFIG = Config(64, 4, 2, 3)  # as for large dense caches: chunks are short, so CTAs must overlap each other


@dataclass(frozen=True)
class Plan:
    """`tasks` [n, 4] int32 (row, begin, end, slot), longest first; `first` [rows + 1] int32 (a row's first slot)."""

    tasks: torch.Tensor
    first: torch.Tensor


def plan(lengths: torch.Tensor, config: Config, sms: int, device: torch.device | str) -> Plan:
    """The plan for `lengths` [batch, kv_heads] on the CPU (an engine knows them there); empty rows get one task."""
    blocks = (lengths.reshape(-1).long() + config.block_n - 1) // config.block_n
    chunk = chunk_blocks(blocks.tolist(), sms, config.ctas_per_sm)
    chunks = ((blocks + chunk - 1) // chunk).clamp_min(1)
    each = (blocks + chunks - 1) // chunks * config.block_n  # a row's chunks are equal, its last may be shorter
    first = torch.zeros(len(blocks) + 1, dtype=torch.long)
    first[1:] = chunks.cumsum(0)
    row = torch.repeat_interleave(torch.arange(len(blocks)), chunks)
    slot = torch.arange(len(row))
    begin = (slot - first[row]) * each[row]
    tasks = torch.stack([row, begin, begin + each[row], slot], 1)[each[row].argsort(descending=True, stable=True)]
    return Plan(tasks.int().contiguous().to(device), first.int().to(device))


def decode_ragged(
    q: torch.Tensor,
    k_pages: torch.Tensor,
    v_pages: torch.Tensor,
    table: torch.Tensor,
    lengths: torch.Tensor,
    the_plan: Plan | None = None,
    *,
    config: Config | None = None,
    scale: float | None = None,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """As `decode.decode`, with `lengths` [batch, kv_heads] and `table` [batch, kv_heads, entries] of pages.

    Pages are [pages, 1, page, dim]: a page belongs to one head, so a head that keeps fewer tokens holds fewer pages.
    Without `the_plan` one is made here, which copies `lengths` to the host.
    """
    kv_heads = lengths.shape[1]
    page, dim = k_pages.shape[2:]
    check(q, k_pages, v_pages, kv_heads, page)
    table = per_head(table, kv_heads, 3)
    config = config or CONFIG
    the_plan = the_plan or plan(lengths.cpu(), config, multiprocessors(q.device), q.device)
    slots, group = len(the_plan.tasks), q.shape[1] // kv_heads
    partial = torch.empty(slots, group, dim, dtype=torch.float32, device=q.device)
    lse = torch.empty(slots, group, dtype=torch.float32, device=q.device)
    launch(
        q,
        k_pages,
        v_pages,
        table,
        lengths,
        partial,
        lse,
        config,
        Split(1, 0),
        grain=page,
        scale=scale,
        tasks=the_plan.tasks,
    )
    return merge(partial, lse, torch.empty_like(q) if out is None else out, first=the_plan.first)
