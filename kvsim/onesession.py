"""The four costs of a long context: how many sessions fit, and how long prefill, decode and switching sessions take.

The division is that of arXiv:2405.08944, where several users of long contexts take turns on one machine: an answer
waits for its session's cache to be swapped in from host memory, after another's was swapped out.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from kvsim import find
from kvsim.cost.kernels import copy
from kvsim.cost.op import D2H, H2D, Op
from kvsim.cost.rates import ON_CHIP, Rates
from kvsim.engine.capacity import capacity
from kvsim.errors import UserError
from kvsim.onestep import Step, step
from kvsim.replay import serving_preset
from kvsim.specs.hardware import Machine
from kvsim.specs.model import Model
from kvsim.traits.layout import Layout
from kvsim.traits.placement import HBM
from kvsim.traits.policy import policy as named_policy

COSTS = ("sessions", "prefill_s", "decode_s", "switch_s")
SERVING = "vllm"
_FUSED = (
    "gemm",
    "grouped_gemm",
    "column_sums",
    "attention_prefill",
    "attention_decode",
    "copy",
)  # Ops that no kernel can absorb


@dataclass(frozen=True)
class Costs:
    """Of one machine and policy. `sessions`: how many hold their cache at once, not rounded down."""

    sessions: float
    prefill_s: float
    decode_s: float
    switch_s: float


@dataclass(frozen=True)
class Row:
    """One policy and context. `peak`: at datasheet rates, all memory but the weights for the cache; `expected`: as
    everywhere in kvsim. Bytes are of one chip; `cache_bytes` by tier, of a session at its end."""

    policy: str
    context: int
    cache_bytes: dict[str, int]
    peak: Costs
    expected: Costs


@dataclass(frozen=True)
class Session:
    """The four costs of each policy at each context, in this order."""

    rows: tuple[Row, ...]
    answer_tokens: int
    expected_error: float
    assumptions: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` prints, SI units."""
        return {
            "answer_tokens": self.answer_tokens,
            "rows": [asdict(row) for row in self.rows],
            "expected_error": self.expected_error,
            "assumptions": list(self.assumptions),
        }


def session(
    *,
    hw: str,
    model: str,
    policy: str | Sequence[str] = "full",
    context: int | Sequence[int] = 50_000,
    generated: int = 250,
    batch: int = 1,
    tp: int = 0,
    fidelity: str = "ideal",
    weight_dtype: str = "",
) -> Session:
    """The four costs of a session: a prompt of `context` tokens, then an answer of `generated` tokens.

    Args:
        policy, context: one, or several: a row for each of both.
        batch: sessions that decode together; prefill and switching are of one.
        tp: chips that share the model; 0 for all of the machine.

    Raises:
        UserError: an unknown name, a figure out of range, weights that do not fit.
    """
    policies = [policy] if isinstance(policy, str) else list(policy)
    contexts = [context] if isinstance(context, int | np.integer) else list(context)
    if generated < 1:
        raise UserError(f"generated must be at least 1, but got {generated}")
    machine, spec = find.machine(hw), find.model(model, weight_dtype)
    shared: dict[str, Any] = {"hw": hw, "model": model, "tp": tp, "fidelity": fidelity, "weight_dtype": weight_dtype}
    answer = np.arange(1, generated + 1)
    rows, errors = [], []
    for tokens in contexts:
        for name in policies:
            prefill = step(**shared, policy=name, phase="prefill", context=int(tokens))
            decode = step(
                **shared, policy=name, phase="decode", batch=batch, context=int(tokens) + answer, generated=answer
            )
            layout = Layout(named_policy(name, fidelity), spec, tp or machine.chips, 16)
            rows.append(_row(name, int(tokens), generated, machine, layout, prefill, decode))
            errors += [prefill.expected_error, decode.expected_error]
    return Session(tuple(rows), generated, max(errors), _notes(machine, spec, tp or machine.chips, batch, max(errors)))


def _row(
    policy: str, context: int, generated: int, machine: Machine, layout: Layout, prefill: Step, decode: Step
) -> Row:
    rates = Rates.of(machine, layout.geo.tp)
    prompt, whole = np.array([context]), np.array([context + generated])
    held = layout.rows_at(prompt, whole)[[layout.hbm_row, layout.home_row], 0]
    largest = np.array([tier[0] for tier in layout.largest_allocated(prompt, whole)])
    home = layout.policy.placement.home
    moved = 0 if layout.offloaded else int(held[1])  # what rests in host memory need not move
    swaps = [copy("swap_out", D2H, moved), copy("swap_in", H2D, moved)] if moved else []
    room = capacity(machine, layout, serving_preset(SERVING)).pool_bytes
    most = {
        HBM: machine.chip.memory.capacity - layout.geo.model.weight_bytes / layout.geo.tp - layout.static_bytes,
        **({} if home == HBM else {home: machine.tier(home).capacity_bytes / machine.chips}),
    }
    peak = Costs(
        _sessions([most[HBM], most[home]], held, held),
        _peak_s(prefill, rates),
        _peak_s(decode, rates),
        len(swaps) * moved / rates.host_link.bandwidth,
    )
    expected = Costs(
        _sessions([room[HBM], room[home]], held, largest),
        float(prefill.seconds),
        float(np.sum(decode.seconds)),
        float(np.sum([rates.seconds(op) for op in swaps])),
    )
    tiers = {HBM: int(held[0]), **({} if home == HBM else {home: int(held[1])})}
    return Row(policy, context, tiers, peak, expected)


def _sessions(rooms: Sequence[float], held: Any, largest: Any) -> float:
    """Sessions of `held` bytes that fit while one of them is as large as it gets, by the tier that is full first."""
    fits = [(room - (most - kept)) / kept for room, kept, most in zip(rooms, held, largest, strict=True) if kept]
    return max(0.0, float(min(fits)))


def _peak_s(steps: Step, rates: Rates) -> float:
    """Seconds at the datasheet's rates: tensor FLOPs, memory and links each at their peak, the slowest counts.

    Of the Ops that remain when everything else is fused into them; no latencies.
    """
    seconds: dict[str, Any] = {}
    for op in steps.ops:
        if op.kind in _FUSED:
            for what, took in _terms(op, rates):
                seconds[what] = seconds.get(what, 0.0) + took
    return float(np.sum(np.max(np.stack(np.broadcast_arrays(*map(np.atleast_1d, seconds.values()))), axis=0)))


def _terms(op: Op, rates: Rates) -> list[tuple[str, Any]]:
    """(resource, seconds) of an Op."""
    if op.lane not in ON_CHIP:
        return [(op.lane, op.count * op.bytes / rates.lane(op.lane).peak_bytes_per_s)]
    tensor = [(unit, flops) for unit, flops in op.flops.items() if unit != "alu"]
    found = [("tensor cores", op.count * flops / rates.chip.peak.of(unit)) for unit, flops in tensor]
    return [*found, ("memory", op.count * op.bytes / rates.chip.memory.bandwidth)]


def _notes(machine: Machine, model: Model, tp: int, batch: int, error: float) -> tuple[str, ...]:
    shape = f"one chip of {machine.name}" if tp == 1 else f"{tp} chips of {machine.name}; bytes are of one chip"
    return (
        f"{shape}; {batch} session{'s' * (batch > 1)} decode{'s' * (batch == 1)} at a time",
        "peak: datasheet FLOP/s and bytes/s, GEMMs and attention alone, a multiply-add as two FLOPs, causal attention; "
        "all of the memory that weights leave holds caches",
        f"expected: kernel times as in `kvsim step`, +-{error:.0%}; memory as the preset {SERVING} "
        "leaves it, with room for one session that still holds its whole prompt",
        "a switch swaps one session's cache out to host memory and another's in, one after the other",
    )
