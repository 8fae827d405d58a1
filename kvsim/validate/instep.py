"""Coefficients that price attention inside a step, from its curve: affine, so that the engine can price sums."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from kvsim.cost.calibration import BESIDE_CHUNK, Fitted, InSteps, Residuals
from kvsim.cost.curves import Floats, bodies
from kvsim.cost.curves.latent import LATENT, ROPE
from kvsim.cost.curves.packed import packed_bytes
from kvsim.cost.curves.prefill import KEYS, ROWS
from kvsim.cost.rates import EFFICIENCY
from kvsim.specs.hardware import Chip
from kvsim.validate.residuals import residuals
from kvsim.validate.rows import Rows
from kvsim.validate.solve import digits, solve

PER_KV_HEAD = "balanced_decode"  # forms whose CTAs hold all query heads of a kv head
HEADS = ((32, 8), (64, 8), (16, 4), (8, 2), (8, 1))  # query heads, kv heads of one chip
ALONE = ((32, 32), (8, 8))  # each query head with a kv head of its own
MLA_HEADS = ((128, 1), (64, 1), (32, 1), (16, 1))
OWN = ("packed_decode", "mla_decode")  # decodes over caches that have kernels of their own
MOST_BYTES = 4e10
FEW = 8
LAYER_WEIGHTS = 13 * 4096 * 128  # of each query head, as Llama-3-8B's layers have them: what attention stands beside


def grid(op: str, dtype: str = "bf16", heads_of: tuple[tuple[int, int], ...] = HEADS) -> Rows:
    """Shapes that serving gives a kernel: batches and contexts of decodes, chunks of prompts on their past."""
    found: list[tuple[float, ...]] = []
    for heads, kv_heads in MLA_HEADS if op == "mla_decode" else heads_of:
        if op != "attention_prefill":
            for batch in (1, 2, 4, 8, 16, 32, 64, 128, 256):
                contexts = 2.0 ** np.arange(8, 18)
                found += [(batch, context, heads, kv_heads, 128) for context in contexts]
        else:
            for new in (128, 256, 512, 1024, 2048, 4096, 8192):
                found += [(1, new, past, heads, kv_heads, 128) for past in (0, 512, 2048, 8192, 32768)]
    middle = ("new", "past") if op == "attention_prefill" else ("context",)
    names = ("batch", *middle, "heads", "kv_heads", "head_dim")
    shape = dict(zip(names, np.array(found, np.float64).T, strict=True))
    if op == "packed_decode":
        shape["bits"] = np.full(len(found), float(dtype.removeprefix("int")))
    rows = Rows(op, dtype, shape, np.ones(len(found)))
    return rows.where(work(rows)[1] < MOST_BYTES)


def work(rows: Rows) -> tuple[Floats, Floats, Floats, Floats]:
    """(FLOPs, bytes, query tokens of all heads, keys of a chunk's last token) as the engine counts them for a layer."""
    shape = rows.shape
    heads, kv_heads, dim, batch = shape["heads"], shape["kv_heads"], shape["head_dim"], shape["batch"]
    if rows.op == "attention_prefill":
        new, past = shape["new"], shape["past"]
        pairs = new * past + new * (new + 1) / 2
        moved = 4 * batch * dim * (new * heads + (past + new) * kv_heads)
        return 4 * batch * pairs * heads * dim, moved, batch * new * heads, batch * (past + new)
    context, none = shape["context"], np.zeros(len(rows))
    if rows.op == "mla_decode":
        moved = batch * (2 * context * (LATENT + ROPE) + 4 * heads * LATENT)
        return 2 * batch * context * heads * (2 * LATENT + ROPE), moved, batch * heads, none
    cached = 4.0 * batch * context * kv_heads * dim
    if rows.op == "packed_decode":
        cached = packed_bytes(batch * context * kv_heads * dim, shape["bits"])
    return 4 * batch * context * heads * dim, cached + 4 * batch * dim * heads, batch * heads, none


def products_s(chip: Chip, rows: Rows) -> Floats:
    """Seconds of a layer's products beside each row's attention, at the usual shares of a peak and of HBM."""
    shape = rows.shape
    tokens, weights = shape["batch"] * shape.get("new", 1.0), shape["heads"] * LAYER_WEIGHTS
    compute_share, memory_share = EFFICIENCY["gemm"]
    compute = 2 * tokens * weights / (compute_share * chip.peak.bf16)
    return np.maximum(compute, 2 * weights / (memory_share * chip.memory.bandwidth))


def seconds(found: InSteps, chip: Chip, rows: Rows) -> Floats:
    """Seconds by the coefficients."""
    flops, moved, queries, keys = work(rows)
    compute = flops / (found.tensor_share * chip.peak.bf16)
    memory = moved / (found.memory_share * chip.memory.bandwidth)
    if found.per_kv_head:
        queries = queries * rows.shape["kv_heads"] / rows.shape["heads"]
    started = found.latency_s + found.row_s / chip.multiprocessors * queries
    return started + bodies([compute, memory, keys * found.key_s], found.exposed)


def beside_chunk(one: Fitted, chip: Chip) -> InSteps:
    """Decodes in a batch that also holds prompts, from the curve of the prompts' kernel, which treats each as a tile.

    A tile has ROWS queries, of which a decode fills one; its compute hides all but `exposed` of the bytes. Query heads
    of a kv head run side by side, so that a cache crosses HBM once. Fewer than FEW decodes leave SMs idle, and take
    longer than these sums say.
    """
    rows, curve = grid("attention_decode"), replace(one.curve, kv_passes=1.0)
    rows = rows.where(rows.shape["batch"] >= FEW)
    shape = {**rows.shape, "new": np.ones(len(rows)), "past": rows.shape["context"] - 1}
    alone = np.asarray(curve.seconds(chip, shape)) - curve.launch_s
    dim = float(rows.shape["head_dim"][0])
    block_s = 4 * ROWS * KEYS * dim * chip.multiprocessors / (curve.tensor_share * chip.peak.bf16)
    found = InSteps(
        op=BESIDE_CHUNK,
        kernel=one.kernel,
        latency_s=0.0,
        row_s=digits(curve.cta_s + block_s),
        key_s=0.0,
        tensor_share=digits(curve.tensor_share / ROWS),
        memory_share=digits(curve.memory_share / curve.exposed),
        exposed=1.0,
        against_curve=one.held_out,
    )
    against = residuals(Rows(rows.op, rows.dtype, rows.shape, alone), seconds(found, chip, rows))
    return found.model_copy(update={"against_curve": against})


def in_steps(one: Fitted, chip: Chip) -> Iterator[InSteps]:
    """The coefficients nearest to a curve on the grid, where its operands stream from HBM.

    A kernel whose tiles hold a kv head's query heads has others where that is one. Prompts' attention counts by itself,
    an error of decodes by its share of the layer: microseconds of a small batch are little beside its products.
    """
    by_kv_head = one.form == PER_KV_HEAD
    for heads in (HEADS, ALONE) if by_kv_head else (HEADS,):
        rows = grid(one.op, one.dtype, heads)
        rows = Rows(rows.op, rows.dtype, rows.shape, np.asarray(one.curve.seconds(chip, rows.keyed)))
        beside_s = 0.0 if one.op == "attention_prefill" else products_s(chip, rows)
        about = {"op": one.op, "dtype": one.dtype, "kernel": one.kernel}
        yield _nearest(rows, chip, beside_s, about | {"per_kv_head": by_kv_head, "alone": heads is ALONE}, one.held_out)


def _nearest(rows: Rows, chip: Chip, beside_s: Floats | float, about: dict[str, Any], unfitted: Residuals) -> InSteps:
    """The coefficients that leave least of the rows' seconds, with `beside_s` added to both."""
    start = {"latency_s": 1e-5, "tensor_share": 0.5, "memory_share": 0.8, "exposed": 0.2, "row_s": 1e-7}
    if rows.op == "attention_prefill":
        start["key_s"] = 1e-8

    def build(x: Floats, left: Residuals) -> InSteps:
        found: dict[str, Any] = {name: digits(min(np.exp(v), 1.0)) for name, v in zip(start, x, strict=True)}
        return InSteps(**({"key_s": 0.0} | found), **about, against_curve=left)

    def errors(x: Floats) -> Floats:
        found: Floats = np.log((beside_s + seconds(build(x, unfitted), chip, rows)) / (beside_s + rows.seconds))
        return found

    best = solve(errors, np.log(np.array(list(start.values()))))
    return build(best, residuals(rows, seconds(build(best, unfitted), chip, rows)))
