"""Shared-prefix decode: the prefix is attended once for all sequences, the suffixes each, and merged by log-sum-exp.

The queries of all sequences that share a prefix form one tall matrix per kv head, so the prefix's keys are read once
and multiplied like a GEMM. Few queries: `prefix_kernel`, bytes bind. Many queries over a prefix that lies in one piece:
the library's attention (library.py), nearer to the tensor cores' limit; a prefix that lies in pages keeps the kernel.
Source: Hydragen (arXiv 2402.05099); cascade inference (FlashInfer, 2024).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
import triton
import triton.language as tl

from kernels_ref import library, online
from kernels_ref.configs import Config, pick_prefix, pick_suffix
from kernels_ref.decode import check, launch, multiprocessors, per_head
from kernels_ref.merge import Pieces, merge
from kernels_ref.prefix_kernel import prefix_kernel
from kernels_ref.splits import Split, ceil_div, choose

T = TypeVar("T")
PAGE = 16  # how a prefix in one piece is seen as pages


@dataclass(frozen=True)
class Prefix:
    """Keys and values that sequences share: pages [pages, kv_heads or 1, page, dim], `table` [kv_heads, entries] int32
    (stride 0 for what heads share), `tokens` [1] int32; if they lie in one piece, that too: [kv_heads, tokens, dim]."""

    k_pages: torch.Tensor
    v_pages: torch.Tensor
    table: torch.Tensor
    tokens: torch.Tensor
    piece: tuple[torch.Tensor, torch.Tensor] | None = None


def in_pages(k_pages: torch.Tensor, v_pages: torch.Tensor, table: torch.Tensor, tokens: torch.Tensor) -> Prefix:
    """A prefix in a paged cache [pages, kv_heads, page, dim]: `table` [entries] int32, `tokens` [1] int32."""
    return Prefix(k_pages, v_pages, table.expand(k_pages.shape[1], -1), tokens)


def in_one_piece(k: torch.Tensor, v: torch.Tensor) -> Prefix:
    """A prefix stored on its own, `k` and `v` [kv_heads, tokens, dim], contiguous. Raises ValueError unless its tokens
    are whole pages of 16, as what engines share is."""
    kv_heads, tokens, dim = k.shape
    if tokens % PAGE or v.shape != k.shape or not (k.is_contiguous() and v.is_contiguous()):
        raise ValueError(f"k and v must be contiguous, alike and of a multiple of {PAGE} tokens but got {k.shape}")
    table = torch.arange(kv_heads * tokens // PAGE, dtype=torch.int32, device=k.device).view(kv_heads, -1)
    pages = (x.view(-1, 1, PAGE, dim) for x in (k, v))
    return Prefix(*pages, table, torch.tensor([tokens], dtype=torch.int32, device=k.device), (k, v))


def launch_prefix(
    q: torch.Tensor,
    prefix: Prefix,
    partial: torch.Tensor,
    lse: torch.Tensor,
    config: Config,
    split: Split,
    *,
    scale: float | None = None,
    part_splits: int = 1,
) -> None:
    """Issues the kernel. `q` [sequences, kv_heads * group, dim]. Split s of (sequence, kv head) r goes to slot
    r * part_splits + s of `partial` [slots, group, dim] and `lse` [slots, group] float32 (base 2). Unchecked."""
    sequences, kv_heads = q.shape[0], prefix.table.shape[0]
    group, dim, page = q.shape[1] // kv_heads, q.shape[2], prefix.k_pages.shape[2]
    q_blocks = ceil_div(sequences * group, config.block_m)
    prefix_kernel[(kv_heads * split.splits * q_blocks,)](
        q,
        prefix.k_pages,
        prefix.v_pages,
        prefix.table,
        prefix.tokens,
        partial,
        lse,
        (dim**-0.5 if scale is None else scale) * online.LOG2E,
        prefix.k_pages.stride(0),
        prefix.k_pages.stride(1) if prefix.k_pages.shape[1] > 1 else 0,
        prefix.table.stride(0),
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
        COMPUTE=tl.bfloat16 if prefix.k_pages.dtype == torch.bfloat16 else tl.float16,
        NATIVE=q.is_cuda,
        num_warps=config.warps,
        num_stages=config.stages,
        **({"maxnreg": config.registers} if config.registers else {}),
    )


def beside(device: torch.device, first: Callable[[], T], second: Callable[[], None]) -> T:
    """Issues `first`, then `second` on another stream (on the CPU: in turn), and joins them; gives what `first` gives.

    `second` must not allocate: its stream's memory would be free to others too early.
    """
    if device.type != "cuda":
        result = first()
        second()
        return result
    here, other = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    other.wait_stream(here)
    result = first()
    with torch.cuda.stream(other):
        second()
    here.wait_stream(other)
    return result


def decode_shared(
    q: torch.Tensor,
    prefix: Prefix,
    k_pages: torch.Tensor,
    v_pages: torch.Tensor,
    table: torch.Tensor,
    lengths: torch.Tensor,
    *,
    scale: float | None = None,
    out: torch.Tensor | None = None,
    config: Config | None = None,
    prefix_config: Config | None = None,
    pieces: int | None = None,
) -> torch.Tensor:
    """Attention over prefix + own suffix, [batch, heads, dim].

    `q`, pages, `table` and `lengths` (each sequence's own tokens) as in `decode.decode`. `pieces` overrides into how
    many the library's attention cuts the prefix, 0 for the kernel of this package.
    """
    batch, heads, dim = q.shape
    kv_heads, page = k_pages.shape[1:3]
    check(q, k_pages, v_pages, kv_heads, page)
    group, sms = heads // kv_heads, multiprocessors(q.device)
    if pieces is None:
        pieces = library.pieces_for(q, prefix.piece[0], sms) if prefix.piece else 0
    prefix_config = prefix_config or pick_prefix(batch * group)
    rows = kv_heads * ceil_div(batch * group, prefix_config.block_m)
    longest = prefix.table.shape[1] * prefix.k_pages.shape[2]
    before = Split(0, 0) if pieces else choose(rows, longest, prefix_config.block_n, sms, prefix_config.ctas_per_sm)
    suffix_tokens = table.shape[1] * page
    config = config or pick_suffix(suffix_tokens)
    after = choose(batch * kv_heads, suffix_tokens, config.block_n, sms, config.ctas_per_sm)
    splits = before.splits + after.splits
    partial = torch.empty(batch * kv_heads * splits, group, dim, dtype=torch.float32, device=q.device)
    lse = torch.empty(batch * kv_heads * splits, group, dtype=torch.float32, device=q.device)

    def attend_prefix() -> Pieces | None:
        if pieces:
            return library.attend(q, *prefix.piece, pieces, scale)
        launch_prefix(q, prefix, partial, lse, prefix_config, before, scale=scale, part_splits=splits)
        return None

    def attend_suffixes() -> None:
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

    # the prefix first: its CTAs are long, and the suffixes' fill the multiprocessors that it leaves idle
    found = beside(q.device, attend_prefix, attend_suffixes)
    return merge(partial, lse, torch.empty_like(q) if out is None else out, splits=splits, pieces=found)
