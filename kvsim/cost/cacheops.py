"""The Ops of a step that touch the cache. Each builder is affine in its features, so that the engine can price sums.

Decode features, for one layer kind: sequences, head-tokens attended to, cache bytes read, elements to dequantize.
Chunk features, for one layer kind: new tokens, query-key pairs of one head, past tokens attended to.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.kernels import ACTIVATION_BYTES, affine_gemm, attention_decode, attention_prefill, elementwise
from kvsim.cost.op import Num, Op
from kvsim.traits.layout import Layout
from kvsim.traits.trait import Chunk, Decode, End


def decode_ops(layout: Layout, kind: LayerKind, sums: Decode, beside_chunk: bool = False) -> list[Op]:
    """GPU Ops of the layers of `kind` for one decode token of each sequence.

    `beside_chunk`: prompts are read in the same step. A cache in a floating-point type is then read by their kernel.
    """
    geo, policy, heads = layout.geo, layout.policy, sum(kind.heads)
    if policy.placement.on_chip(kind, geo) == (0.0, 0.0):  # attention runs elsewhere
        return [cache_write(layout, kind, sums.sequences)]
    launches = policy.placement.attention_launches(geo)
    launches += sum(trait.more_launches(geo, kind) for trait in policy.traits)
    read = _on_chip(layout, kind, sums)
    flops = read.tokens * (geo.decode_flops * geo.query_heads / heads)
    flops = flops + read.rebuilt * policy.basis.of_kind(kind).rebuild_flops(geo)
    shape = _shape(geo, sums.sequences, 0.0) | _own_kernel(layout, kind, sums.sequences)
    if policy.quantizer.instructions or policy.basis.instructions:
        shape["dequantizes"] = True
    elif beside_chunk:
        shape["beside_chunk"] = True
    ops = [
        cache_write(layout, kind, sums.sequences),
        attention_decode(
            "attention_decode",
            sums.sequences,
            flops,
            read.kv_bytes,
            geo.query_bytes,
            read.work,
            launches,
            kind.layers,
            shape,
        ),
    ]
    if policy.quantizer.copies:  # reads and writes the values, about half of the bytes
        ops.append(elementwise("append_copy", sums.kv_bytes, launches=3, count=kind.layers))
    return ops + [op for trait in policy.traits for op in trait.decode_ops(geo, kind, sums)]


def _on_chip(layout: Layout, kind: LayerKind, sums: Decode) -> Decode:
    """What the placement leaves to the chip of a decode step's attention."""
    share, besides = layout.policy.placement.on_chip(kind, layout.geo)
    if (share, besides) == (1.0, 0.0):
        return sums
    more = sums.sequences * (besides * sum(kind.heads))
    return replace(
        sums,
        tokens=sums.tokens * share + more,
        kv_bytes=sums.kv_bytes * share + more * layout.token_bytes(kind),
        work=sums.work * share,
        rebuilt=sums.rebuilt * share,
    )


def chunk_ops(layout: Layout, kind: LayerKind, chunk: Chunk) -> list[Op]:
    """GPU Ops of the layers of `kind` for a prefill chunk: of the query heads of its kv heads.

    `chunk` counts the tokens of the chunk; of those, layers see the shares that the policy's prefill says.
    """
    geo, policy, layer = layout.geo, layout.policy, kind.index[0]
    passes = policy.prefill.passes(geo, layer)
    if not passes:
        return []
    new, past = chunk.new * passes, chunk.past * passes
    pairs = chunk.pairs * policy.prefill.attends(geo, layer)
    chunk = Chunk(new, pairs, past)
    heads, width = sum(kind.heads), (geo.key_dim + geo.value_dim) * ACTIVATION_BYTES
    share = heads / sum(layout.kind_of(layer).heads)
    moved = new * (geo.query_bytes * share) + (past + new) * (geo.kv_heads * share * width)
    flops = pairs * (geo.prefill_flops * geo.query_heads * share)
    launches = policy.placement.attention_launches(geo)
    shape = _shape(geo, new, past + new)
    ops = [
        cache_write(layout, kind, new),
        attention_prefill("attention_prefill", flops, moved, launches, kind.layers, shape),
    ]
    if policy.quantizer.instructions:  # the past is widened once a chunk, then attended to at 16 bits
        widened = past * (heads * (layout.token_bytes(kind) + width))
        work = past * (heads * layout.token_work(kind))
        ops.append(elementwise("dequantize_past", widened, count=kind.layers, instructions=work))
    if geo.model.latent:
        latent = geo.model.latent
        up = geo.query_heads * (latent.nope_dim + latent.value_dim)
        ops += affine_gemm("kv_up_proj_past", past, up, latent.kv_rank, geo.model.dtype, kind.layers)
    return ops + [op for trait in policy.traits for op in trait.chunk_ops(geo, kind, chunk)]


def end_ops(layout: Layout, prompt: Num) -> list[Op]:
    """GPU Ops when prompts of `prompt` tokens, a number or an array, are complete."""
    geo, policy = layout.geo, layout.policy
    prompts = np.atleast_1d(np.asarray(prompt, np.int64))
    kept = layout.kept(prompts, prompts)
    tokens = layout.groups.by_kind(layout.groups.heads[:, None] * kept.sum(axis=1))
    stored = layout.groups.by_kind(layout.holdings.read_bytes(kept))
    one = not np.ndim(prompt)
    ops = []
    for k, kind in enumerate(layout.kinds):
        heads = sum(kind.heads)
        left = (tokens[k], stored[k]) if not one else (int(tokens[k, 0]), int(stored[k, 0]))
        end = End(prompt, prompt * (heads * layout.token_bytes(kind)), *left)
        ops += [op for trait in policy.traits for op in trait.end_ops(geo, kind, end)]
    ops += policy.prefill.finishing_ops(geo, End(prompt, 0, 0, 0))
    return [op for op in ops if np.ndim(op.count) or op.count]


def _shape(geo: Geometry, queries: Num, keys: Num) -> dict[str, Any]:
    """What coefficients of attention take; a latent cache has kernels of its own."""
    if geo.model.latent:
        return {}
    rows = {"queries": queries * geo.query_heads, "kv_queries": queries * geo.kv_heads}
    return {**rows, "keys": keys, "head_dim": geo.key_dim, "alone": geo.query_heads == geo.kv_heads}


def _own_kernel(layout: Layout, kind: LayerKind, queries: Num) -> dict[str, Any]:
    """The kernel that reads such a cache as it lies, where rows keep the model's channels: KIVI's codes, latents."""
    geo, quantizer, basis = layout.geo, layout.policy.quantizer, layout.policy.basis.of_kind(kind)
    widths = basis.key_dim(geo.key_dim), basis.value_dim(geo.value_dim)
    if basis.instructions or basis.rebuild_flops(geo) or widths != (geo.key_dim, geo.value_dim):
        return {}
    if geo.model.latent:
        own = {"queries": queries * geo.query_heads, "keys": 0.0, "latent": True, "own": ("mla_decode", "bf16")}
        return {} if quantizer.bits != 16 else own
    return {"own": ("packed_decode", f"int{quantizer.packed}")} if quantizer.packed else {}


def cache_write(layout: Layout, kind: LayerKind, new: Num) -> Op:
    """New rows read at 16 bits and written as they are stored."""
    geo = layout.geo
    width = (geo.key_dim + geo.value_dim) * ACTIVATION_BYTES
    moved = new * (sum(kind.heads) * (width + layout.token_bytes(kind)))
    work = new * (sum(kind.heads) * layout.token_work(kind))
    return elementwise("cache_write", moved, count=kind.layers, instructions=work)


def joined_past(layout: Layout, kind: LayerKind, past: Num) -> Op:
    """The rows of a chunk's past, gathered from their pages at 16 bits; hidden launches, for most chunks have none."""
    geo = layout.geo
    share = sum(kind.heads) / sum(layout.kind_of(kind.index[0]).heads)
    width = geo.kv_heads * share * (geo.key_dim + geo.value_dim) * ACTIVATION_BYTES
    return elementwise("join_past", past * (2 * width), launches=0, count=kind.layers)


def link_ops(layout: Layout, fetched: Num, returned: Num) -> list[Op]:
    """Transfers of a cache that rests elsewhere, in its placement's units: bytes over all layers, both directions."""
    return layout.policy.placement.move_ops(layout.geo, fetched, returned)


def beside_ops(layout: Layout, kind: LayerKind, sums: Decode) -> list[Op]:
    """A decode step's attention on lanes beside the chip, and the chip's exchange with them."""
    return layout.policy.placement.beside_ops(layout.geo, kind, sums.sequences, sums.tokens, sums.kv_bytes)


def pairs(new: Num, past: Num, limit: int | None) -> tuple[Num, Num]:
    """(query-key pairs of one head, past tokens attended to) of a causal chunk where a query sees `limit` keys."""
    if limit is None:
        return new * past + new * (new + 1) // 2, past
    if isinstance(new, int) and isinstance(past, int):
        growing = min(max(limit - past, 0), new)
        return growing * past + growing * (growing + 1) // 2 + (new - growing) * limit, min(past, limit)
    below = np.clip(limit - past, 0, new)
    return below * past + below * (below + 1) // 2 + (new - below) * limit, np.minimum(past, limit)
