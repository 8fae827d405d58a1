"""The Ops of a step that touch the cache. Each builder is affine in its features, so that the engine can price sums.

Decode features, for one layer kind: sequences, head-tokens attended to, cache bytes read, elements to dequantize.
Chunk features, for one layer kind: new tokens, query-key pairs of one head, past tokens attended to.
"""

import numpy as np

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.kernels import ACTIVATION_BYTES, affine_gemm, attention_decode, attention_prefill, elementwise
from kvsim.cost.op import Num, Op
from kvsim.traits.layout import Layout


def decode_ops(
    layout: Layout,
    kind: LayerKind,
    sequences: Num,
    tokens: Num,
    kv_bytes: Num,
    work: Num,
    beside_chunk: bool = False,
) -> list[Op]:
    """GPU Ops of the layers of `kind` for one decode token of each sequence.

    `beside_chunk`: prompts are read in the same step. A cache in a floating-point type is then read by their kernel.
    """
    geo, policy = layout.geo, layout.policy
    launches = policy.placement.attention_launches(geo)
    share, besides = policy.placement.on_chip(kind, geo)
    if (share, besides) != (1.0, 0.0):  # what the placement leaves to the chip
        more = sequences * (besides * sum(kind.heads))
        tokens, work = tokens * share + more, work * share
        kv_bytes = kv_bytes * share + more * layout.read_token_bytes
    flops = tokens * (geo.decode_flops * geo.query_heads / sum(kind.heads))
    dequantize = work * policy.quantizer.instructions
    shape = _shape(geo, sequences, 0.0)
    if policy.quantizer.instructions:
        shape["dequantizes"] = True
    elif beside_chunk:
        shape["beside_chunk"] = True
    ops = [
        cache_write(layout, kind, sequences),
        attention_decode(
            "attention_decode",
            sequences,
            flops,
            kv_bytes,
            geo.query_bytes,
            dequantize,
            launches,
            kind.layers,
            shape,
        ),
    ]
    if policy.quantizer.copies:  # reads and writes the values, about half of the bytes
        ops.append(elementwise("append_copy", kv_bytes, launches=3, count=kind.layers))
    return ops + policy.retention.decode_ops(geo, kind, sequences, tokens, kv_bytes)


def chunk_ops(layout: Layout, kind: LayerKind, new: Num, pairs: Num, past: Num) -> list[Op]:
    """GPU Ops of the layers of `kind` for a prefill chunk: `pairs` counts the keys each new token sees, itself too."""
    geo, policy = layout.geo, layout.policy
    heads, width = geo.kv_heads, (geo.key_dim + geo.value_dim) * ACTIVATION_BYTES
    moved = new * geo.query_bytes + (past + new) * (heads * width)
    flops = pairs * (geo.prefill_flops * geo.query_heads)
    launches = policy.placement.attention_launches(geo)
    shape = _shape(geo, new, past + new)
    ops = [
        cache_write(layout, kind, new),
        attention_prefill("attention_prefill", flops, moved, launches, kind.layers, shape),
    ]
    if policy.quantizer.instructions:  # the past is widened once a chunk, then attended to at 16 bits
        elements = past * (heads * (layout.key_dim + layout.value_dim))
        widened = past * (heads * (layout.head_token_bytes + width))
        work = elements * policy.quantizer.instructions
        ops.append(elementwise("dequantize_past", widened, count=kind.layers, instructions=work))
    if geo.model.latent:
        latent = geo.model.latent
        up = geo.query_heads * (latent.nope_dim + latent.value_dim)
        ops.append(affine_gemm("kv_up_proj_past", past, up, latent.kv_rank, geo.model.dtype, kind.layers))
    return ops + policy.retention.chunk_ops(geo, kind, new, pairs)


def _shape(geo: Geometry, queries: Num, keys: Num) -> dict[str, Num | bool]:
    """What coefficients of attention take; a latent cache has kernels of its own, of which none was measured."""
    return {} if geo.model.latent else {"queries": queries * geo.query_heads, "keys": keys}


def cache_write(layout: Layout, kind: LayerKind, new: Num) -> Op:
    """New rows read at 16 bits and written as they are stored."""
    geo = layout.geo
    width = (geo.key_dim + geo.value_dim) * ACTIVATION_BYTES
    moved = new * (sum(kind.heads) * (width + layout.head_token_bytes))
    work = new * (sum(kind.heads) * (geo.key_dim + geo.value_dim) * layout.policy.quantizer.instructions)
    return elementwise("cache_write", moved, count=kind.layers, instructions=work)


def link_ops(layout: Layout, fetched: Num, returned: Num) -> list[Op]:
    """Transfers of a cache that rests elsewhere, in its placement's units: bytes over all layers, both directions."""
    return layout.policy.placement.move_ops(layout.geo, fetched, returned)


def beside_ops(layout: Layout, kind: LayerKind, sequences: Num, tokens: Num, kv_bytes: Num) -> list[Op]:
    """A decode step's attention on lanes beside the chip, and the chip's exchange with them."""
    return layout.policy.placement.beside_ops(layout.geo, kind, sequences, tokens, kv_bytes)


def pairs(new: Num, past: Num, limit: int | None) -> tuple[Num, Num]:
    """(query-key pairs of one head, past tokens attended to) of a causal chunk where a query sees `limit` keys."""
    if limit is None:
        return new * past + new * (new + 1) // 2, past
    if isinstance(new, int) and isinstance(past, int):
        growing = min(max(limit - past, 0), new)
        return growing * past + growing * (growing + 1) // 2 + (new - growing) * limit, min(past, limit)
    below = np.clip(limit - past, 0, new)
    return below * past + below * (below + 1) // 2 + (new - below) * limit, np.minimum(past, limit)
