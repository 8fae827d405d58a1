"""Decode attention over a paged KV cache with split KV: one kernel for every cache that is read as it is stored.

Dense (table of pages), gathered pages or tokens (table of what is read, per kv head), ragged heads (a length per head),
fp8 and shared prefixes (many sequences read one row) differ in their tables, lengths and dtypes, not in the loop.
Each CTA takes one row (sequence, kv head), one split of its keys and up to BLOCK_M queries, and leaves a normalised
output with its log-sum-exp; `merge` joins the splits. Bytes bind it, so what counts is bytes in flight: whole key
blocks are prefetched `stages` deep and every table entry is read once a block.
"""

import torch
import triton
import triton.language as tl

from kernels_ref import online, pages
from kernels_ref.configs import Config, pick
from kernels_ref.merge import merge
from kernels_ref.splits import Split, ceil_div, choose

VARYING = ["splits", "split_tokens", "q_blocks", "part_splits", "part_first"]
VARYING += ["table_b", "table_h", "length_b", "length_h"]


@triton.jit
def attend(
    q_tile,
    k_head,
    v_head,
    entry,
    i,
    end,
    scale,
    page_stride,
    m,
    total,
    acc,
    DIM: tl.constexpr,
    PAGE: tl.constexpr,
    GRAIN: tl.constexpr,
    BLOCK_D: tl.constexpr,
    COMPUTE: tl.constexpr,
    NATIVE: tl.constexpr,
    MASKED: tl.constexpr,
):
    """Takes the keys and values of tokens `i` [BLOCK_N], table entries `entry`, into m, total, acc (see online)."""
    d = tl.arange(0, BLOCK_D)
    where = pages.offsets(entry, i, page_stride, DIM, PAGE, GRAIN)[:, None] + d[None, :]
    if MASKED or DIM != BLOCK_D:
        mask = (i < end)[:, None] & (d < DIM)[None, :]
        k = tl.load(k_head + where, mask=mask, other=0.0)
        v = tl.load(v_head + where, mask=mask, other=0.0)
    else:
        k = tl.load(k_head + where)
        v = tl.load(v_head + where)
    scores = tl.dot(q_tile, tl.trans(k.to(COMPUTE))) * scale
    if MASKED:
        scores = tl.where((i < end)[None, :], scores, float("-inf"))
    p, shrink, m, total = online.update(scores, m, total)
    return m, total, tl.dot(p.to(COMPUTE), online.widen(v, COMPUTE, NATIVE), acc * shrink[:, None])


@triton.jit(do_not_specialize=VARYING)  # one compilation for all their values
def decode_kernel(
    q,
    k_pages,
    v_pages,
    table,
    lengths,
    k_scale,
    v_scale,
    partial,
    lse,
    tasks,
    scale,
    page_stride,
    head_stride,
    table_b,
    table_h,
    length_b,
    length_h,
    splits,
    split_tokens,
    q_blocks,
    part_splits,
    part_first,
    HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    SHARED: tl.constexpr,
    DIM: tl.constexpr,
    PAGE: tl.constexpr,
    GRAIN: tl.constexpr,
    HAS_SCALE: tl.constexpr,
    HAS_TASKS: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    COMPUTE: tl.constexpr,
    NATIVE: tl.constexpr,
    PEEL: tl.constexpr,
):
    """Program: (row, split, block of queries), the last fastest; shapes as in `launch`."""
    # which row, split and queries are mine?
    task = tl.program_id(0) // q_blocks
    q_block = tl.program_id(0) % q_blocks
    if HAS_TASKS:
        row = tl.load(tasks + 4 * task)
        begin = tl.load(tasks + 4 * task + 1)
        end = tl.load(tasks + 4 * task + 2)
    else:
        row = task // splits
        begin = task % splits * split_tokens
        end = begin + split_tokens
    b = row // HEADS
    head = row % HEADS
    query = q_block * BLOCK_M + tl.arange(0, BLOCK_M)
    live = query < SHARED * GROUP
    q_row = (b * SHARED + query // GROUP) * HEADS + head  # (sequence, kv head) of each query
    member = query % GROUP
    d = tl.arange(0, BLOCK_D)
    in_dim = d < DIM
    q_at = (q_row * GROUP + member)[:, None] * DIM + d[None, :]
    q_tile = tl.load(q + q_at, mask=live[:, None] & in_dim[None, :], other=0.0).to(COMPUTE)

    # the keys of my split
    length = tl.load(lengths + b * length_b + head * length_h)
    end = tl.minimum(end, length)
    my_table = table + b.to(tl.int64) * table_b + head * table_h
    k_head = k_pages + head.to(tl.int64) * head_stride
    v_head = v_pages + head.to(tl.int64) * head_stride
    if HAS_SCALE:
        scale *= tl.load(k_scale + head)

    m, total, acc = online.start(BLOCK_M, BLOCK_D)
    i = begin + tl.arange(0, BLOCK_N)
    entry = tl.load(my_table + i // GRAIN, mask=i < end, other=0)
    stop = begin + (end - begin) // BLOCK_N * BLOCK_N if PEEL else end
    for at in range(begin, stop, BLOCK_N):
        i = at + tl.arange(0, BLOCK_N)
        now = entry
        # the next block's entries: loaded only when needed, they would stall the prefetch of keys and values
        entry = tl.load(my_table + (i + BLOCK_N) // GRAIN, mask=i + BLOCK_N < end, other=0)
        m, total, acc = attend(
            q_tile,
            k_head,
            v_head,
            now,
            i,
            end,
            scale,
            page_stride,
            m,
            total,
            acc,
            DIM,
            PAGE,
            GRAIN,
            BLOCK_D,
            COMPUTE,
            NATIVE,
            not PEEL,
        )
    if PEEL and stop < end:  # where arithmetic binds, only the last block pays for masks
        i = stop + tl.arange(0, BLOCK_N)
        m, total, acc = attend(
            q_tile,
            k_head,
            v_head,
            entry,
            i,
            end,
            scale,
            page_stride,
            m,
            total,
            acc,
            DIM,
            PAGE,
            GRAIN,
            BLOCK_D,
            COMPUTE,
            NATIVE,
            True,
        )

    out, whole = online.finish(m, total, acc)
    if HAS_SCALE:
        out *= tl.load(v_scale + head)
    slot = q_row * part_splits + part_first + task % splits
    if HAS_TASKS:
        slot = q_row * 0 + tl.load(tasks + 4 * task + 3)
    to = slot.to(tl.int64) * GROUP + member
    tl.store(
        partial + to[:, None] * DIM + d[None, :], out.to(partial.dtype.element_ty), mask=live[:, None] & in_dim[None, :]
    )
    tl.store(lse + to, whole, mask=live)


def launch(
    q: torch.Tensor,
    k_pages: torch.Tensor,
    v_pages: torch.Tensor,
    table: torch.Tensor,
    lengths: torch.Tensor,
    partial: torch.Tensor,
    lse: torch.Tensor,
    config: Config,
    split: Split,
    *,
    grain: int,
    scale: float | None = None,
    shared: int = 1,
    tasks: torch.Tensor | None = None,
    part_splits: int = 1,
    part_first: int = 0,
    k_scale: torch.Tensor | None = None,
    v_scale: torch.Tensor | None = None,
) -> None:
    """Issues the kernel. `q` [batch * shared, kv_heads * group, dim]; pages [pages, kv_heads or 1, page, dim];
    `table` [batch, kv_heads, entries] and `lengths` [batch, kv_heads] int32, any strides (0 for what heads share).

    Split s of (sequence, kv head) r goes to slot r * part_splits + part_first + s of `partial` [slots, group, dim] and
    of `lse` [slots, group] float32 (base 2); with `tasks` [n, 4] int32, each is (row, begin, end, slot) in tokens.
    `k_scale`, `v_scale` [kv_heads] float32 multiply stored keys and values. Unchecked: callers check.
    """
    batch, kv_heads = table.shape[:2]
    group, dim, page = q.shape[1] // kv_heads, q.shape[2], k_pages.shape[2]
    block_m = max(16, min(triton.next_power_of_2(shared * group), config.block_m))
    q_blocks = ceil_div(shared * group, block_m)
    work = batch * kv_heads * split.splits if tasks is None else len(tasks)
    compute = tl.bfloat16 if k_pages.dtype == torch.bfloat16 else tl.float16  # fp8 to fp16: one conversion, not two
    scale = (dim**-0.5 if scale is None else scale) * online.LOG2E
    decode_kernel[(work * q_blocks,)](
        q,
        k_pages,
        v_pages,
        table,
        lengths,
        k_scale,
        v_scale,
        partial,
        lse,
        tasks,
        scale,
        k_pages.stride(0),
        k_pages.stride(1) if k_pages.shape[1] > 1 else 0,
        table.stride(0),
        table.stride(1),
        lengths.stride(0),
        lengths.stride(1),
        split.splits,
        split.tokens,
        q_blocks,
        part_splits,
        part_first,
        HEADS=kv_heads,
        GROUP=group,
        SHARED=shared,
        DIM=dim,
        PAGE=page,
        GRAIN=grain,
        HAS_SCALE=k_scale is not None,
        HAS_TASKS=tasks is not None,
        BLOCK_M=block_m,
        BLOCK_N=config.block_n,
        BLOCK_D=triton.next_power_of_2(dim),
        COMPUTE=compute,
        NATIVE=q.is_cuda,
        PEEL=block_m >= 64,
        num_warps=config.warps,
        num_stages=config.stages,
        **({"maxnreg": config.registers} if config.registers else {}),
    )


def multiprocessors(device: torch.device) -> int:
    """The device's SM count; 4 on the CPU, where the interpreter runs one program at a time anyway."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 4


def per_head(x: torch.Tensor, kv_heads: int, ndim: int) -> torch.Tensor:
    """A view of `x` with a kv-head dimension 1 of `kv_heads`: itself, or expanded with stride 0."""
    if x.ndim == ndim - 1:
        return x.unsqueeze(1).expand(x.shape[0], kv_heads, *x.shape[1:])
    return x


def check(q: torch.Tensor, k_pages: torch.Tensor, v_pages: torch.Tensor, kv_heads: int, grain: int) -> None:
    """Raises ValueError where shapes, strides, dtypes or the grain are not what `launch` takes."""
    if k_pages.shape != v_pages.shape or not (k_pages.is_contiguous() and v_pages.is_contiguous()):
        raise ValueError("k_pages and v_pages must be contiguous and of one shape [pages, heads, page, dim]")
    if not q.is_contiguous() or q.shape[-1] != k_pages.shape[-1] or q.shape[1] % kv_heads:
        raise ValueError(f"q must be contiguous [batch, multiple of {kv_heads}, {k_pages.shape[-1]}] but got {q.shape}")
    if k_pages.shape[1] not in (1, kv_heads):
        raise ValueError(f"pages must have 1 or {kv_heads} heads but got {k_pages.shape[1]}")
    if grain not in (1, k_pages.shape[2]):
        raise ValueError(f"grain must be 1 or the page size {k_pages.shape[2]} but got {grain}")


def decode(
    q: torch.Tensor,
    k_pages: torch.Tensor,
    v_pages: torch.Tensor,
    table: torch.Tensor,
    lengths: torch.Tensor,
    *,
    kv_heads: int | None = None,
    grain: int | None = None,
    scale: float | None = None,
    out: torch.Tensor | None = None,
    k_scale: torch.Tensor | None = None,
    v_scale: torch.Tensor | None = None,
    config: Config | None = None,
    split: Split | None = None,
) -> torch.Tensor:
    """Attention of one query token a sequence, [batch, heads, dim] in `q`'s dtype.

    `q` [batch, heads, dim] bf16 or fp16; pages [pages, kv_heads, page, dim] of its dtype or float8_e4m3fn; `table`
    [batch, entries] or, for per-head gathers, [batch, kv_heads, entries] int32; `lengths` tokens to read, [batch] or
    [batch, kv_heads] int32, 0 allowed. `grain` is tokens per table entry: the page size (default) or 1.
    """
    batch, heads, dim = q.shape
    kv_heads = kv_heads or k_pages.shape[1]
    grain = grain or k_pages.shape[2]
    check(q, k_pages, v_pages, kv_heads, grain)
    table, lengths = per_head(table, kv_heads, 3), per_head(lengths, kv_heads, 2)
    group, rows, tokens = heads // kv_heads, batch * kv_heads, table.shape[2] * grain
    config = config or pick(k_pages.element_size(), rows, tokens, rows * tokens * dim * k_pages.element_size() * 2)
    split = split or choose(rows, tokens, config.block_n, multiprocessors(q.device), config.ctas_per_sm)
    out = torch.empty_like(q) if out is None else out
    slots = rows * split.splits
    lse = torch.empty(slots, group, dtype=torch.float32, device=q.device)
    direct = split.splits == 1
    partial = out if direct else torch.empty(slots, group, dim, dtype=torch.float32, device=q.device)
    launch(
        q,
        k_pages,
        v_pages,
        table,
        lengths,
        partial,
        lse,
        config,
        split,
        grain=grain,
        scale=scale,
        part_splits=split.splits,
        k_scale=k_scale,
        v_scale=v_scale,
    )
    return out if direct else merge(partial, lse, out, splits=split.splits)
