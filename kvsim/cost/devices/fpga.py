"""An FPGA overlay for transformers (FlightLLM, arXiv:2401.03868): seconds of a kernel by its lanes and memory channels.

Every region works on its share of a product. One token goes through the vector lanes, whose outputs come in tiles; many
go through the matrix lanes, in tiles of tokens. Activations of a decode step stay on the chip: memory streams weights
and the cache alone. Pruned weights are neither loaded nor multiplied.
"""

import numpy as np

from kvsim.cost.kernels import ACTIVATION_BYTES
from kvsim.cost.op import Num, Op
from kvsim.specs.chips import Chip, Fpga

# What rides on a product's outputs costs nothing of its own; a norm passes twice over each of the rows that it writes
# (of four that it moves), because the first pass makes its sum.
FUSED = ("activation", "rotary", "cache_write")
PASSES = dict.fromkeys(FUSED, 0.0) | {"norm": 0.5, "final_norm": 0.5}


def cycles_per_s(chip: Chip, overlay: Fpga) -> float:
    """Clock cycles a second of all regions together."""
    return overlay.regions * overlay.balance * chip.clock


def memory_bytes_per_s(chip: Chip, overlay: Fpga, same_channel: bool = True) -> float:
    """What regions load together: each from channels of its own, or (slower) across them."""
    used = min(overlay.channels, overlay.regions * overlay.regions_channels)
    share = overlay.same_channel if same_channel else overlay.cross_channel
    return chip.memory.bandwidth * used / overlay.channels * share * overlay.balance


def terms(chip: Chip, overlay: Fpga, op: Op) -> dict[str, Num]:
    """Seconds of one kernel by what could bound it: the latency plus the largest of the others."""
    found: dict[str, Num] = {"latency": op.launches * overlay.start}
    if op.kind in ("gemm", "grouped_gemm"):
        return found | _product(chip, overlay, op)
    if op.kind.startswith("attention") or op.kind == "column_sums":
        return found | {"attention lanes": _attention_s(chip, overlay, op)}
    elements = op.bytes / ACTIVATION_BYTES * PASSES.get(op.name, 1.0)
    found["latency"] = 0.0 if op.name in FUSED else found["latency"]
    return found | {"element-wise lanes": elements / (overlay.pass_lanes * cycles_per_s(chip, overlay))}


def _product(chip: Chip, overlay: Fpga, op: Op) -> dict[str, Num]:
    """A linear layer: whichever lanes are faster for its tokens, beside the load of its weights."""
    rate, carried = cycles_per_s(chip, overlay), memory_bytes_per_s(chip, overlay)
    if "m" not in op.shape:  # known by its FLOPs alone
        macs = sum(op.flops.values(), start=0.0) / 2
        return {"matrix lanes": macs / (overlay.matrix_macs * rate), "HBM bandwidth": op.bytes / carried}
    m, n, k = op.shape["m"], op.shape["n"], op.shape["k"]
    outputs = np.ceil(n / overlay.vector_rows) * overlay.vector_rows
    vector = m * (outputs * k) / (overlay.vector_macs * rate)
    rows = np.ceil(np.asarray(m) / overlay.matrix_rows) * overlay.matrix_rows
    matrix = rows * (n * k) / (overlay.matrix_macs * rate)
    weights = op.bytes - m * (n + k) * ACTIVATION_BYTES
    return {
        "compute lanes": overlay.density * np.minimum(vector, matrix),
        "HBM bandwidth": overlay.density * weights / carried,
    }


def _attention_s(chip: Chip, overlay: Fpga, op: Op) -> Num:
    """Scores, softmax and the weighted sum, one after the other: values cannot be used before the softmax is through.

    Decode: keys of a head are outputs of a product, so half a tile is padding; the weighted sum has head_dim outputs in
    a whole tile. Prefill: blocks above the diagonal are computed and masked.
    """
    rate, carried = cycles_per_s(chip, overlay), memory_bytes_per_s(chip, overlay)
    flops = sum(op.flops.values(), start=0.0)
    head_dim = float(op.shape.get("head_dim", 128))
    scores = flops / (4 * head_dim)
    softmax = 2 * scores / overlay.pass_lanes
    if op.kind == "attention_prefill":
        return (flops / overlay.matrix_macs + 2 * softmax) / rate
    queries = op.shape.get("queries", 0.0)
    keys = (scores + queries * (overlay.vector_rows / 2)) * head_dim
    values = scores * float(np.ceil(head_dim / overlay.vector_rows) * overlay.vector_rows)
    took: Num = ((keys + values) / overlay.vector_macs + softmax) / rate + op.bytes / carried
    return took
