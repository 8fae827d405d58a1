"""Decode attention over a paged KV cache with split KV: one kernel for every cache that is read as it is stored.

Dense (table of pages), gathered pages or tokens (table of what is read, per kv head), ragged heads (a length per head),
fp8 and shared prefixes (many sequences read one row) differ in their tables, lengths and dtypes, not in the loop, which
is in `decode_kernel`. Here are its launch and the plain entry, `decode`.
"""

import torch
import triton
import triton.language as tl

from kernels_ref import online
from kernels_ref.configs import Config, pick
from kernels_ref.decode_kernel import decode_kernel
from kernels_ref.merge import merge
from kernels_ref.splits import Split, choose


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
    tasks: torch.Tensor | None = None,
    part_splits: int = 1,
    part_first: int = 0,
    k_scale: torch.Tensor | None = None,
    v_scale: torch.Tensor | None = None,
) -> None:
    """Issues the kernel. `q` [batch, kv_heads * group, dim]; pages [pages, kv_heads or 1, page, dim];
    `table` [batch, kv_heads, entries] and `lengths` [batch, kv_heads] int32, any strides (0 for what heads share).

    Split s of (sequence, kv head) r goes to slot r * part_splits + part_first + s of `partial` [slots, group, dim] and
    of `lse` [slots, group] float32 (base 2); with `tasks` [n, 4] int32, each is (row, begin, end, slot) in tokens.
    `k_scale`, `v_scale` [kv_heads] float32 multiply stored keys and values. Unchecked: callers check.
    """
    batch, kv_heads = table.shape[:2]
    group, dim, page = q.shape[1] // kv_heads, q.shape[2], k_pages.shape[2]
    work = batch * kv_heads * split.splits if tasks is None else len(tasks)
    compute = tl.bfloat16 if k_pages.dtype == torch.bfloat16 else tl.float16  # fp8 to fp16: one conversion, not two
    scale = (dim**-0.5 if scale is None else scale) * online.LOG2E
    decode_kernel[(work,)](
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
        part_splits,
        part_first,
        HEADS=kv_heads,
        GROUP=group,
        DIM=dim,
        PAGE=page,
        GRAIN=grain,
        HAS_SCALE=k_scale is not None,
        HAS_TASKS=tasks is not None,
        BLOCK_M=max(16, triton.next_power_of_2(group)),
        BLOCK_N=config.block_n,
        BLOCK_D=triton.next_power_of_2(dim),
        COMPUTE=compute,
        NATIVE=q.is_cuda,
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
