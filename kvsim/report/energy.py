"""Joules of a run: an idle board, a busy one, and what its kernels compute and move, by measured coefficients.

Without measured ones: the board's maximum power while the GPU lane works, its idle power otherwise. FLOPs and bytes
follow from what was done: steps and tokens through the layers, and each completed request's attention (decodes by their
bytes at the middle of the output, prompts by their FLOPs as if every layer saw all of them).
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from kvsim.cost.calibration import NOTHING, Power
from kvsim.cost.dense import dense_ops
from kvsim.cost.op import GPU, Op
from kvsim.engine.simulate import Simulation


def energy_j(run: Simulation, gpu_busy: float, duration_s: float) -> float:
    """Of all chips, over `duration_s` of which each was busy for the share `gpu_busy`."""
    chip, chips = run.machine.chip, run.layout.geo.tp * len(run.replicas)
    seconds, busy_s = chips * duration_s, chips * duration_s * gpu_busy
    known = (run.machine.curves or NOTHING).calibration.power
    if known is None:
        return seconds * chip.idle_power + busy_s * (chip.power - chip.idle_power)
    worked = known.busy_w * busy_s + run.layout.geo.tp * _work_j(known, run)
    return known.idle_w * (seconds - busy_s) + min(worked, chip.power * busy_s)


def method(run: Simulation) -> str:
    """How it was computed, in a sentence."""
    known = (run.machine.curves or NOTHING).calibration.power
    if known is None:
        return "energy: the board's maximum power while the GPU lane works, idle power otherwise"
    return (
        f"energy: {known.idle_w:.0f} W idle, {known.busy_w:.0f} W busy, and measured joules a FLOP and a byte of HBM, "
        f"at most the board's limit; measured classes of work within {known.median:.0%} in the median, "
        f"{known.worst:.0%} at worst"
    )


def _work_j(known: Power, run: Simulation) -> float:
    """Joules of one chip's FLOPs and bytes."""
    layout, counters = run.layout, [replica.counters for replica in run.replicas]
    steps = max(1, sum(counter.steps for counter in counters))
    tokens, rows = (sum(getattr(counter, key) for counter in counters) for key in ("tokens", "sequences"))
    return steps * _ops_j(known, dense_ops(layout.geo, tokens / steps, rows / steps)) + _attention_j(known, run)


def _attention_j(known: Power, run: Simulation) -> float:
    """Of completed requests: each decode step reads what is stored, each prompt computes its query-key pairs."""
    columns, layout = run.columns, run.layout
    done = np.isfinite(columns.done_s)
    if not done.any():
        return 0.0
    prompt, output, hit = columns.prompt_tokens[done], columns.output_tokens[done], columns.hit_tokens[done]
    steps, geo = np.maximum(output - 1, 0), layout.geo
    read = (layout.stored(prompt, prompt + np.maximum(output // 2, 1)) * steps).sum()
    pairs = ((prompt.astype(np.float64) ** 2 - hit.astype(np.float64) ** 2) / 2).sum()
    flops = pairs * geo.prefill_flops * geo.query_heads * geo.model.layers
    return float(read * known.byte_j + flops * known.bf16_flop_j)


def _ops_j(known: Power, ops: Iterable[Op]) -> float:
    def joules(op: Op) -> Any:
        flops = sum(
            count * (known.fp8_flop_j if unit in ("fp8", "int8") else known.bf16_flop_j)
            for unit, count in op.flops.items()
            if unit != "alu"
        )
        return op.count * (flops + op.bytes * known.byte_j)

    return float(sum(np.max(joules(op)) for op in ops if op.lane == GPU))
