"""The KIVI cache of a batch: its packed pages, its residual, and what attention over it should give."""

from dataclasses import dataclass

import torch

from kernels_ref import reference
from kernels_ref.quantize import BLOCK, Packed, empty, pack, unpack


@dataclass(frozen=True)
class Cache:
    """KIVI cache of a batch: packed pages, each sequence's list of them, and its youngest tokens in full precision.

    `table` [batch, width] int32 page ids, of which `pages` [batch] int32 are in use; `k_young`, `v_young`
    [batch, kv_heads, 128, dim] fp16 or bf16, of which `young` [batch] int32 tokens (0 to 128) are in use.
    """

    packed: Packed
    table: torch.Tensor
    pages: torch.Tensor
    k_young: torch.Tensor
    v_young: torch.Tensor
    young: torch.Tensor


def from_dense(k: torch.Tensor, v: torch.Tensor, lengths: list[int], bits: int, group: int = 32) -> Cache:
    """The cache of `k`, `v` [batch, kv_heads, tokens, dim], of which `lengths` count; whole blocks are packed.

    Page ids are dealt in a shuffled order, as an engine's would be after a while.
    """
    batch, kv_heads, tokens, dim = k.shape
    blocks = -(-tokens // BLOCK)
    room = blocks * BLOCK - tokens
    k, v = (torch.nn.functional.pad(x, (0, 0, 0, room)).contiguous() for x in (k, v))
    table = torch.randperm(batch * blocks, device=k.device).to(torch.int32).view(batch, blocks)
    packed = empty(batch * blocks, kv_heads, dim, bits, group, str(k.device))
    pack(k, v, table, packed)
    k_young, v_young = (torch.full((batch, kv_heads, BLOCK, dim), float("nan")).to(x) for x in (k, v))
    for b, n in enumerate(lengths):
        done = n // BLOCK * BLOCK
        k_young[b, :, : n - done], v_young[b, :, : n - done] = k[b, :, done:n], v[b, :, done:n]
    pages, young = (
        torch.tensor(x, dtype=torch.int32, device=k.device)
        for x in ([n // BLOCK for n in lengths], [n % BLOCK for n in lengths])
    )
    return Cache(packed, table, pages, k_young, v_young, young)


def decode_reference(q: torch.Tensor, cache: Cache, scale: float | None = None) -> torch.Tensor:
    """The same in float64: unpack each sequence's pages, append its residual, attend."""
    k_pages, v_pages = unpack(cache.packed)
    out = torch.empty(q.shape, dtype=torch.float64, device=q.device)
    for b in range(q.shape[0]):
        mine, young = cache.table[b, : int(cache.pages[b])].long(), int(cache.young[b])

        def whole(pages: torch.Tensor, tail: torch.Tensor, mine: torch.Tensor = mine) -> torch.Tensor:
            old = pages[mine].transpose(0, 1).flatten(1, 2)  # [kv_heads, tokens, dim]
            return torch.cat([old, tail.double()], 1)[None]

        k = whole(k_pages, cache.k_young[b, :, :young])
        v = whole(v_pages, cache.v_young[b, :, :young])
        out[b] = reference.attention(q[b : b + 1], k, v, scale=scale)[0][0]
    return out
