"""One step, analytically, by Op and lane: what `kvsim step` and `kvsim.step` show."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kvsim import find
from kvsim.cost import cacheops
from kvsim.cost.dense import dense_ops, head_ops, parted_ops
from kvsim.cost.executed.alike import whole_s
from kvsim.cost.op import GPU, PEER, Num, Op
from kvsim.cost.overfull import overfull
from kvsim.cost.overheads import NONE, Overheads, launches, step_terms
from kvsim.cost.rates import Rates
from kvsim.cost.source import Source, mean_error, notes
from kvsim.errors import UserError
from kvsim.specs.hardware import Machine
from kvsim.traits.layout import Ints, Layout
from kvsim.traits.placement import SLOWED_BY_COPIES, overlapped, slowed
from kvsim.traits.policy import policy as named_policy
from kvsim.traits.trait import Chunk

PHASES = ("prefill", "decode", "mixed")


@dataclass(frozen=True)
class Step:
    """Seconds of one step (arrays where arguments were), its Ops, and its lanes before overlap."""

    seconds: Num
    ops: tuple[Op, ...]
    op_seconds: tuple[Num, ...]
    bounds: tuple[str, ...]
    sources: tuple[Source, ...]
    lanes: dict[str, Num]
    kv_bytes: dict[str, Num]
    assumptions: tuple[str, ...]
    serving: str = ""
    engine_terms: dict[str, float] | None = None

    @property
    def engine_seconds(self) -> float | None:
        """Seconds of the step in an engine, its host and gaps included; None where no serving preset was named."""
        return None if self.engine_terms is None else sum(self.engine_terms.values())

    @property
    def bound(self) -> str:
        """The lane that sets the pace, and the Op that fills most of it (at the first of several points)."""
        lane = max(self.lanes, key=lambda name: first(self.lanes[name]))
        inside = [i for i, op in enumerate(self.ops) if op.lane == lane]
        most = max(inside, key=lambda i: first(self.op_seconds[i]))
        share = first(self.op_seconds[most]) / max(first(self.lanes[lane]), 1e-300)
        return f"{self.bounds[most]} ({self.ops[most].name}, {share:.0%} of the {lane} lane)"

    @property
    def expected_error(self) -> float:
        """Of its Ops, weighted by their seconds (at the first of several points)."""
        return mean_error(zip(map(first, self.op_seconds), self.sources, strict=True))

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` prints, SI units."""
        ops = [
            {
                "name": op.name,
                "lane": op.lane,
                "seconds": _plain(seconds),
                "flops": _plain(sum((op.count * v for unit, v in op.flops.items() if unit != "alu"), start=0.0)),
                "bytes": _plain(op.count * op.bytes),
                "bound": bound,
                "provenance": source.text,
            }
            for op, seconds, bound, source in zip(self.ops, self.op_seconds, self.bounds, self.sources, strict=True)
        ]
        engine = {"serving": self.serving, "seconds": self.engine_seconds, "terms": self.engine_terms}
        return {
            "seconds": _plain(self.seconds),
            **({"engine": engine} if self.engine_terms is not None else {}),
            "bound": self.bound,
            "ops": ops,
            "lanes": {lane: _plain(seconds) for lane, seconds in self.lanes.items()},
            "kv_bytes": {tier: _plain(moved) for tier, moved in self.kv_bytes.items()},
            "expected_error": self.expected_error,
            "assumptions": list(self.assumptions),
        }


def step(
    *,
    hw: str,
    model: str,
    policy: str = "full",
    phase: str = "decode",
    batch: Num = 1,
    context: Num = 1024,
    chunk: int = 512,
    past: int = 0,
    generated: Num = 1,
    tp: int = 0,
    fidelity: str = "ideal",
    block_tokens: int = 16,
    weight_dtype: str = "",
    serving: str = "",
    machine: Machine | None = None,
) -> Step:
    """One step of one replica.

    Args:
        phase: "prefill" reads `batch` prompts of `context` new tokens each; "decode" extends `batch` sequences whose
            context holds `context` tokens after this step, `generated` of them generated; "mixed" is those decodes
            and one prefill chunk of `chunk` tokens on top of `past` earlier ones.
        batch, context, generated: whole numbers, or integer arrays of one shape: seconds and Ops are then arrays.
        tp: chips that share the model; 0 for all of the system.
        serving: a preset whose engine the step is one of: `engine_terms` then says what it costs beyond its Ops.
        machine: that which `hw` names, if it is to be another than the file's: with other curves, say.

    Raises:
        UserError: an unknown name, a figure out of range, an array with `serving`.
    """
    if phase == "session":
        raise UserError("phase session is no single step: kvsim.session has its costs")
    if phase not in PHASES:
        raise UserError(f"phase must be one of {', '.join(PHASES)}, but got {phase!r}")
    overheads, words = _of(serving) if serving else (NONE, "")
    machine = (machine or find.machine(hw)).preferring(words)
    if (tp := tp or machine.chips) > machine.chips:
        raise UserError(f"tp: {machine.name} has {machine.chips} chips, but got {tp}")
    spec = find.model(model, weight_dtype)
    layout, rates = Layout(named_policy(policy, fidelity), spec, tp, block_tokens), Rates.of(machine, tp)
    sequences, tokens = _count("batch", batch), _count("context", context)
    beside: list[Op] = []
    if phase == "prefill":
        others = _prefill(layout, sequences, tokens, 0, whole=True)
        ends = [op.times(sequences) for op in cacheops.end_ops(layout, tokens)]
        others += [op for op in ends if op.lane == GPU]
        beside = [op for op in ends if op.lane != GPU]
        decodes, new, heads, kv_rows = 0, sequences * tokens, sequences, None
        held = layout.allocated_while_prefilling(np.atleast_1d(tokens)) * np.atleast_1d(sequences)
        kv_bytes = _tiers(layout, held)
    else:
        prompt = tokens - _count("generated", generated)
        if np.any(prompt < 1):
            raise UserError(f"context must be more than generated ({generated}): a prompt has at least 1 token")
        rows = layout.rows_at(np.atleast_1d(prompt), np.atleast_1d(tokens)) * np.atleast_1d(sequences)
        kv_bytes = _tiers(layout, rows[[layout.hbm_row, layout.home_row]])
        rows = rows if np.ndim(tokens) or np.ndim(sequences) else rows[:, 0]
        extra, more, before, others = 0, 0, 0, list[Op]()
        fetched = rows[layout.link_row] if layout.offloaded else 0
        returned = fetched if layout.policy.placement.returns_everything() else sequences * layout.moved_token_bytes
        if phase == "mixed":
            extra, more = int(_count("chunk", chunk)), 1
            before = int(_count("past", past, 0))
            others = _prefill(layout, 1, extra, before, whole=False)
            fetched = fetched + before * layout.past_token_bytes
            returned = returned + extra * layout.moved_token_bytes
        decodes, new, heads, kv_rows = sequences, extra, sequences + more, rows
        others = _decode(layout, sequences, rows, more > 0) + others
        beside = _beside(layout, sequences, rows)
        if layout.offloaded:
            others += cacheops.link_ops(layout, fetched, returned)
    if overheads.joins_past and phase == "mixed":
        others += [
            cacheops.joined_past(layout, part, cacheops.pairs(extra, before, seen)[1])
            for kind in layout.kinds
            for seen, part in layout.reading(kind)
        ]
    ops = _dense(layout, decodes, new, heads, overheads) + others
    found = _assemble(layout, rates, ops, beside, kv_bytes, machine.name, tp)
    found = replace(found, assumptions=(*found.assumptions, *overfull(layout, kv_bytes, machine.chip)))
    if not serving:
        return found
    width, prompts = decodes + new, phase != "decode"
    if any(map(np.ndim, (found.seconds, width, heads))):
        raise UserError("serving: an engine's terms are of one step: give whole numbers, no arrays")
    empty = 0 if layout.passes and new else overheads.padded(int(width), prompts) - width
    padded = _dense(layout, decodes + empty, new, heads, overheads) + others
    work_s = float(_assemble(layout, rates, padded, beside, kv_bytes, machine.name, tp).seconds)
    count = overheads.launched(int(width), prompts, launches(padded, (GPU, PEER)), layout.geo.model.layers)
    terms = step_terms(overheads, work_s, float(found.seconds), count, int(heads))
    if overheads.as_executed:
        chunks = ((int(tokens), 0),) * int(sequences) if phase == "prefill" else ((extra, before),) * more
        if own_s := whole_s(layout, rates, overheads, int(decodes), kv_rows, chunks, phase == "prefill"):
            terms["kernels of its own"] = own_s - work_s
    return replace(found, serving=serving, engine_terms=terms)


def _of(serving: str) -> tuple[Overheads, str]:
    """What a preset adds to a step, and words of its kernels."""
    from kvsim.replay import serving_preset

    return (one := serving_preset(serving)).overheads, one.kernels


def _dense(layout: Layout, decodes: Num, new: Num, rows: Num, overheads: Overheads) -> list[Op]:
    """What does not touch the cache: of decoding sequences, and of chunks as far as the prefill lets them pass."""
    if layout.passes and (np.ndim(new) or new):
        return parted_ops(layout.geo, decodes, new, layout.passes, overheads) + head_ops(layout.geo, rows, overheads)
    return dense_ops(layout.geo, decodes + new, rows, overheads)


def _decode(layout: Layout, sequences: Num, rows: Ints, beside_chunk: bool) -> list[Op]:
    many, ops = len(layout.kinds), []
    for k, kind in enumerate(layout.kinds):
        sums = layout.sums(k, sequences, tuple(rows[k : layout.hbm_row : many]))
        ops += cacheops.decode_ops(layout, kind, sums, beside_chunk)
    return ops


def _beside(layout: Layout, sequences: Num, rows: Ints) -> list[Op]:
    """Attention of decodes on lanes beside the chip."""
    many, ops = len(layout.kinds), []
    for k, kind in enumerate(layout.kinds):
        ops += cacheops.beside_ops(layout, kind, layout.sums(k, sequences, tuple(rows[k : layout.hbm_row : many])))
    return ops


def _prefill(layout: Layout, prompts: Num, new: Num, past: int, whole: bool) -> list[Op]:
    ops, prefill = [], layout.policy.prefill
    for kind in layout.kinds:
        for seen, part in layout.reading(kind):
            pairs, attended = cacheops.pairs(new, past, seen)
            ops += cacheops.chunk_ops(layout, part, Chunk(prompts * new, prompts * pairs, prompts * attended))
    pairs, attended = cacheops.pairs(new, past, None)
    ops += prefill.reading_ops(layout.geo, Chunk(prompts * new, prompts * pairs, prompts * attended))
    if layout.offloaded and whole:
        token = layout.moved_token_bytes
        ops += cacheops.link_ops(layout, prompts * past * layout.past_token_bytes, prompts * new * token)
    return ops


def _assemble(
    layout: Layout, rates: Rates, ops: list[Op], beside: list[Op], kv_bytes: dict[str, Num], machine: str, tp: int
) -> Step:
    """`ops` overlap where the placement streams; `beside` come one after the other, and the chip waits for them."""
    lanes: dict[str, Num] = {}
    streams: dict[str, Num] = {GPU: 0.0}
    waits: Num = 0.0
    seconds = tuple(rates.seconds(op) for op in (*ops, *beside))
    for index, (op, value) in enumerate(zip((*ops, *beside), seconds, strict=True)):
        lanes[op.lane] = lanes.get(op.lane, 0.0) + value
        if index < len(ops):
            lane = GPU if op.lane == PEER else op.lane
            streams[lane] = streams.get(lane, 0.0) + value
        else:
            waits = waits + value
    total = streams[GPU]
    if layout.offloaded:
        units = layout.policy.placement.units(layout.geo)
        total = overlapped(slowed(list(_alike(*streams.values()))), units)
    total = total + waits
    ops = ops + beside
    sources = tuple(rates.source(op) for op in ops)
    assumed = [
        f"{tp} of {machine}'s chips; all figures are of one chip" if tp > 1 else f"one chip of {machine}",
        *notes((op.kind, source) for op, source in zip(ops, sources, strict=True)),
        "GPU work only: no host time, launches captured in CUDA graphs",
    ]
    if layout.policy.assumed:
        assumed.append(f"assumed, not measured: {'; '.join(layout.policy.assumed)}")
    if layout.offloaded:
        assumed.append(
            "copies overlap compute unit by unit, double-buffered, from pinned host memory; kernels are "
            f"{SLOWED_BY_COPIES:.1%} slower beside them"
        )
    if any(op.kind == "attention_decode" for op in beside):
        assumed.append("the chip waits for attention beside it, layer by layer: no second batch fills the gap")
    bounds = tuple(rates.bound(op) for op in ops)
    return Step(total, tuple(ops), seconds, bounds, sources, lanes, kv_bytes, tuple(assumed))


def _alike(*values: Num) -> tuple[Num, ...]:
    """All floats, or all arrays."""
    if any(isinstance(value, np.ndarray) for value in values):
        return tuple(np.broadcast_arrays(*[np.asarray(value, np.float64) for value in values]))
    return tuple(float(value) for value in values)


def _tiers(layout: Layout, held: Ints) -> dict[str, Num]:
    """Allocated bytes by tier on one chip, from [HBM, home]."""
    one = held.shape[-1] == 1
    home = layout.policy.placement.home
    tiers = {"hbm": held[0]} if home == "hbm" else {"hbm": held[0], home: held[1]}
    return {tier: int(moved[0]) if one else moved for tier, moved in tiers.items()}


def _count(name: str, value: Any, least: int = 1) -> Any:
    """A whole number or an integer array, at least `least`."""
    array = np.asarray(value)
    if array.dtype.kind not in "iu" or array.size == 0 or np.any(array < least) or np.any(array > 2**40):
        raise UserError(f"{name} must be whole numbers from {least} to 2^40, but got {value!r}")
    return array.astype(np.int64) if array.ndim else int(array)


def first(value: Num) -> float:
    """A figure, or the first of several."""
    return float(np.ravel(value)[0])


def _plain(value: Num) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else float(value)
