"""The Ops of a step that do not touch the cache: projections, MLP or experts, norms, head, sampling, collectives."""

from dataclasses import replace
from math import ceil

import numpy as np

from kvsim.cost.geometry import Geometry
from kvsim.cost.kernels import ACTIVATION_BYTES, all_reduce, elementwise, gemm, grouped_gemm
from kvsim.cost.op import Num, Op
from kvsim.cost.overheads import LAYER_KERNELS, NONE, Overheads

Passes = tuple[tuple[int, float], ...]  # (layers, share of a chunk's tokens that pass through them)


def dense_ops(geo: Geometry, tokens: Num, rows: Num, overheads: Overheads = NONE) -> list[Op]:
    """Ops for `tokens` tokens through all layers and `rows` of them through the head, on one chip of the replica."""
    return layer_ops(geo, tokens, overheads) + head_ops(geo, rows, overheads)


def layer_ops(geo: Geometry, tokens: Num, overheads: Overheads = NONE) -> list[Op]:
    """Embedding and all layers for `tokens` tokens."""
    return [*edge_ops(geo, tokens), *body_ops(geo, tokens, overheads)]


def edge_ops(geo: Geometry, tokens: Num, overheads: Overheads = NONE) -> list[Op]:
    """What comes before the layers and after them: embedding, final norm."""
    row_bytes = tokens * geo.model.hidden * ACTIVATION_BYTES
    return [elementwise("embedding", 2 * row_bytes), elementwise("final_norm", 2 * row_bytes)]


def body_ops(geo: Geometry, tokens: Num, overheads: Overheads = NONE) -> list[Op]:
    """All layers for `tokens` tokens."""
    model, tp = geo.model, geo.tp
    row_bytes = tokens * model.hidden * ACTIVATION_BYTES
    ops = _projections(geo, tokens) + _mlp(geo, tokens)
    if overheads.layer_kernels < LAYER_KERNELS:  # rotary and the cache write are one kernel
        ops = [replace(op, launches=0.0) if op.name == "rotary" else op for op in ops]
    # A norm reads the layer's output and the residual, writes the sum and the normed row.
    ops.append(elementwise("norm", 4 * row_bytes, model.norms_per_layer, model.layers))
    more = overheads.layer_kernels - LAYER_KERNELS
    if more > 0:  # passes that this engine does not fuse: each reads and writes a row of the hidden state
        ops.append(elementwise("unfused_passes", 2 * more * row_bytes, more, model.layers))
    if tp > 1:
        ops.append(all_reduce("all_reduce", row_bytes, tp, 2 * model.layers))
    return ops


def parted_ops(geo: Geometry, all_pass: Num, new: Num, passes: Passes, overheads: Overheads = NONE) -> list[Op]:
    """The same where only shares of `new` tokens pass through parts of the layers, and `all_pass` through all."""
    ops = edge_ops(geo, all_pass + new)
    for layers, share in passes:
        tokens = all_pass + passing(new, share)
        if np.ndim(tokens) or tokens:
            part = layers / geo.model.layers
            ops += [op.times(part) for op in body_ops(geo, tokens, overheads)]
    return ops


def passing(tokens: Num, share: float) -> Num:
    """Whole tokens of a share."""
    some: Num = np.ceil(np.asarray(tokens) * share).astype(np.int64) if np.ndim(tokens) else ceil(tokens * share)
    return some


def head_ops(geo: Geometry, rows: Num, overheads: Overheads = NONE) -> list[Op]:
    """Logits and sampling of `rows` tokens."""
    model, tp = geo.model, geo.tp
    ops = [gemm("lm_head", rows, model.vocab / tp, model.hidden, "bf16")]
    if tp > 1:
        ops.append(all_reduce("gather_logits", rows * model.vocab * ACTIVATION_BYTES, tp))
    # fp32 logits, a pass a kernel: written, then read by softmax, top-k/top-p and the draw; or read once by a maximum.
    passes = overheads.sampling_kernels
    return [*ops, elementwise("sampling", rows * model.vocab * 4.0 * passes, passes)]


def _projections(geo: Geometry, tokens: Num) -> list[Op]:
    model, dtype, layers = geo.model, geo.model.dtype, geo.model.layers
    if model.latent:
        lat, query = model.latent, geo.query_heads * (model.latent.nope_dim + model.latent.rope_dim)
        ops = [gemm("kv_down_proj", tokens, lat.kv_rank + lat.rope_dim, model.hidden, dtype, layers)]
        if lat.query_rank:
            ops.append(gemm("q_down_proj", tokens, lat.query_rank, model.hidden, dtype, layers))
        ops.append(gemm("q_proj", tokens, query, lat.query_rank or model.hidden, dtype, layers))
        # Up-projection of keys and values; decode absorbs it into queries and outputs at the same FLOPs.
        up = geo.query_heads * (lat.nope_dim + lat.value_dim)
        ops.append(gemm("kv_up_proj", tokens, up, lat.kv_rank, dtype, layers))
        attended, rotated = geo.query_heads * lat.value_dim, geo.query_heads * lat.rope_dim + lat.rope_dim
    else:
        query, pair = geo.query_heads * model.head_dim, 2 * geo.kv_heads * model.head_dim
        pair = pair if geo.kv_columns is None else geo.kv_columns
        alone = geo.unprojected_layers
        ops = [gemm("qkv_proj", tokens, query + pair, model.hidden, dtype, layers - alone)]
        if alone:
            ops.append(gemm("q_proj", tokens, query, model.hidden, dtype, alone))
        attended = geo.query_heads * model.head_dim
        rotated = 0 if model.learned_positions else (geo.query_heads + geo.kv_heads) * model.head_dim
    ops.append(gemm("o_proj", tokens, model.hidden, attended, dtype, layers))
    if rotated:
        ops.append(elementwise("rotary", tokens * rotated * 2 * ACTIVATION_BYTES, count=layers))
    return ops


def _mlp(geo: Geometry, tokens: Num) -> list[Op]:
    model, dtype = geo.model, geo.model.dtype
    dense_layers, up = model.layers - model.moe_layers, 2 if model.gated else 1
    ops: list[Op] = []
    if dense_layers:
        inner = model.ffn / geo.tp
        ops.append(gemm("up_proj", tokens, up * inner, model.hidden, dtype, dense_layers))
        ops.append(elementwise("activation", tokens * inner * (up + 1) * ACTIVATION_BYTES, count=dense_layers))
        ops.append(gemm("down_proj", tokens, model.hidden, inner, dtype, dense_layers))
    if model.experts:
        moe, layers = model.experts, model.moe_layers
        inner = moe.ffn / geo.tp
        shape = (tokens, moe.active, moe.count)
        ops.append(gemm("router", tokens, moe.count, model.hidden, "bf16", layers))
        ops.append(grouped_gemm("experts_up", *shape, up * inner, model.hidden, dtype, layers))
        visited = tokens * (moe.active + moe.shared) * inner
        ops.append(elementwise("experts_activation", visited * (up + 1) * ACTIVATION_BYTES, count=layers))
        ops.append(grouped_gemm("experts_down", *shape, model.hidden, inner, dtype, layers))
        # Scatter tokens to experts, gather and weigh their outputs.
        ops.append(elementwise("experts_permute", tokens * moe.active * model.hidden * 4 * ACTIVATION_BYTES, 2, layers))
        if moe.shared:
            shared = inner * moe.shared
            ops.append(gemm("shared_up", tokens, up * shared, model.hidden, dtype, layers))
            ops.append(gemm("shared_down", tokens, model.hidden, shared, dtype, layers))
    return ops
