"""Paged caches: where token i of a row lies, on the device, and making such caches on the host.

A cache is two tensors [pages, heads, PAGE, dim] (keys, values). A row's table lists what it reads, `GRAIN` tokens an
entry: page numbers (GRAIN = PAGE), or single tokens (GRAIN = 1) as page * PAGE + slot. Contiguity is never assumed.
"""

import torch
import triton
import triton.language as tl


@triton.jit
def offsets(entry, i, page_stride, DIM: tl.constexpr, PAGE: tl.constexpr, GRAIN: tl.constexpr):
    """Element offsets (int64) of tokens `i` of a row, before the head's own offset; `entry` is table[i // GRAIN]."""
    if GRAIN == PAGE:
        page = entry
        slot = i % PAGE
    else:
        page = entry // PAGE
        slot = entry % PAGE
    return page.to(tl.int64) * page_stride + slot * DIM


def scatter(
    dense: torch.Tensor, page: int, generator: torch.Generator | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pages [pages, heads, page, dim] in random order, and the table [batch, entries] int32, of a dense cache.

    `dense` is [batch, heads, tokens, dim]; slots behind the last token hold NaN (0x7f in fp8), as stale memory might.
    """
    batch, heads, tokens, dim = dense.shape
    entries = max(1, -(-tokens // page))
    order = torch.randperm(batch * entries, generator=generator).to(dense.device)
    padded = torch.full((batch, heads, entries * page, dim), float("nan"), dtype=torch.float32, device=dense.device)
    padded = padded.to(dense.dtype)
    padded[:, :, :tokens] = dense
    pages = torch.empty(batch * entries, heads, page, dim, dtype=dense.dtype, device=dense.device)
    view = padded.view(batch, heads, entries, page, dim).transpose(1, 2).reshape(batch * entries, heads, page, dim)
    pages.view(torch.uint8)[order] = view.contiguous().view(torch.uint8)  # by bytes: fp8 has no index_put
    return pages, order.view(batch, entries).to(torch.int32)


def gather(pages: torch.Tensor, table: torch.Tensor, tokens: int, grain: int) -> torch.Tensor:
    """The inverse, obvious and slow: [batch, kv_heads, tokens, dim] that `table` [batch, kv_heads, entries] names.

    `pages` has one head per kv head, or a single one that all rows index (pages per head, ragged heads).
    """
    batch, kv_heads = table.shape[:2]
    page, dim = pages.shape[2:]
    i = torch.arange(tokens, device=table.device)
    entry = table.long()[:, :, i // grain]
    number, slot = (entry, (i % page).expand_as(entry)) if grain == page else (entry // page, entry % page)
    head = torch.zeros_like(number) if pages.shape[1] == 1 else torch.arange(kv_heads, device=table.device)[:, None]
    raw = pages.view(torch.uint8)[number, head.expand_as(number), slot]
    return raw.view(pages.dtype).view(batch, kv_heads, tokens, dim)
