"""Where a step's Ops lie under the roofs of a chip: what `kvsim roofline` and `kvsim.roofline` show.

The roofline of Williams, Waterman and Patterson (CACM 52(4), 2009): an Op of F FLOPs that moves B bytes through a
memory of W bytes/s runs at most at min(peak, F / B x W). A whole step has such a point for every memory and link.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kvsim import find
from kvsim.cost.op import D2H, GPU, H2D, PEER
from kvsim.cost.overfull import OVERFULL
from kvsim.cost.rates import ON_CHIP, Rates
from kvsim.errors import UserError
from kvsim.onestep import Step, step
from kvsim.specs.hardware import Machine

PHASES = ("prefill", "decode")
GROUPS = ("linear", "attention", "pass", "link", "step")
_GROUP = {
    "gemm": "linear",
    "grouped_gemm": "linear",
    "column_sums": "attention",
    "attention_prefill": "attention",
    "attention_decode": "attention",
    "elementwise": "pass",
}
_MOST_STEPS = 64
_NAMES = {H2D: "host to GPU", D2H: "GPU to host", "nvme_read": "flash reads", "nvme_write": "flash writes"}


@dataclass(frozen=True)
class Roof:
    """What a lane carries: a memory or a link, at its datasheet's rate."""

    name: str
    lane: str
    bytes_per_s: float


@dataclass(frozen=True)
class Dot:
    """An Op of a step, or the whole step seen from one lane's bytes (group "step"), on one chip.

    Attributes:
        group: linear, attention, pass (element-wise), link (a transfer) or step.
        flops: on tensor cores. bytes: through the lane's memory or link. seconds: all calls together.
        step_share: of the step's seconds, before lanes overlap.
        roof_share: of its roof: the seconds that peak and bandwidth alone would take, over its seconds.
        bound: what takes most of its time. provenance, expected_error: where the seconds come from, and how far off
            to expect them.
    """

    policy: str
    phase: str
    batch: int
    op: str
    group: str
    lane: str
    flops: float
    bytes: float
    seconds: float
    step_share: float
    roof_share: float
    bound: str
    provenance: str
    expected_error: float

    @property
    def intensity(self) -> float | None:
        """FLOPs a byte; None without either."""
        return self.flops / self.bytes if self.flops and self.bytes else None

    @property
    def flops_per_s(self) -> float:
        """FLOP/s that it attains."""
        return self.flops / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Roofline:
    """Roofs of one chip and the Ops of all steps under them. `peaks`: FLOP/s by the operand types that occur."""

    hw: str
    model: str
    context: int
    peaks: dict[str, float]
    roofs: tuple[Roof, ...]
    dots: tuple[Dot, ...]
    assumptions: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` prints, SI units."""
        more = [{"intensity": dot.intensity, "flops_per_s": dot.flops_per_s} for dot in self.dots]
        return {
            "hw": self.hw,
            "model": self.model,
            "context": self.context,
            "peak_flops_per_s": self.peaks,
            "roofs": [asdict(roof) for roof in self.roofs],
            "ops": [asdict(dot) | figures for dot, figures in zip(self.dots, more, strict=True)],
            "assumptions": list(self.assumptions),
        }


def roofline(
    *,
    hw: str,
    model: str,
    policy: str | Sequence[str] = "full",
    batch: int | Sequence[int] = (1, 16, 64),
    context: int = 4096,
    phase: str | Sequence[str] = PHASES,
    tp: int = 0,
    fidelity: str = "ideal",
    weight_dtype: str = "",
) -> Roofline:
    """The Ops of prefill and decode steps under the roofs of a chip.

    Args:
        policy, batch, phase: one, or several: a step for each combination. context: tokens of a prompt, or of a
            sequence after a decode step.
        tp: chips that share the model; 0 for all of the machine.

    Raises:
        UserError: an unknown name, a figure out of range, too many steps for one picture.
    """
    policies, phases = ([given] if isinstance(given, str) else list(given) for given in (policy, phase))
    batches = [batch] if isinstance(batch, int) else list(batch)
    if wrong := [name for name in phases if name not in PHASES]:
        raise UserError(f"phase must be one of {', '.join(PHASES)}, but got {wrong[0]!r}")
    if len(policies) * len(batches) * len(phases) > _MOST_STEPS:
        raise UserError(f"policies x batches x phases must be at most {_MOST_STEPS}; name fewer")
    machine = find.machine(hw)
    shared: dict[str, Any] = {"hw": hw, "model": model, "tp": tp, "fidelity": fidelity, "weight_dtype": weight_dtype}
    rates, peaks = Rates.of(machine, tp or machine.chips), dict[str, float]()
    dots, notes = list[Dot](), list[str]()
    for name in policies:
        for which in phases:
            for many in batches:
                found = step(**shared, policy=name, phase=which, batch=many, context=context)
                dots += _dots(found, rates, (name, which, many))
                peaks |= {unit: rates.chip.peak.of(unit) for op in found.ops for unit in op.flops if unit != "alu"}
                said = {note.partition(":")[0] for note in notes if note.startswith(OVERFULL)}  # once is enough
                notes += [
                    note for note in found.assumptions if note not in notes and note.partition(":")[0] not in said
                ]
    used = {dot.lane for dot in dots}
    return Roofline(
        hw,
        model,
        context,
        peaks,
        tuple(roof for roof in roofs(machine, tp) if roof.lane in used),
        tuple(dots),
        tuple(notes),
    )


def roofs(machine: Machine, tp: int = 0) -> list[Roof]:
    """Every memory and link that a chip's Ops use; the host link in each direction."""
    rates = Rates.of(machine, tp or machine.chips)
    found = [Roof(machine.chip.memory.kind, GPU, machine.chip.memory.bandwidth)]
    found += [Roof(_NAMES.get(lane, one.what), lane, one.peak_bytes_per_s) for lane, one in rates.lanes.items()]
    return [*found, Roof("between chips", PEER, rates.peer.bandwidth)]


def _dots(found: Step, rates: Rates, where: tuple[str, str, int]) -> list[Dot]:
    """The Ops of a step, longest first, then the step itself from each of its lanes."""
    total_s, lanes = float(found.seconds), dict.fromkeys(op.lane for op in found.ops)
    dots = []
    for op, seconds, bound, source in zip(found.ops, found.op_seconds, found.bounds, found.sources, strict=True):
        flops = op.count * float(sum(value for unit, value in op.flops.items() if unit != "alu"))
        group = _GROUP.get(op.kind, "link")
        took = float(seconds)
        if not took:  # rides on another Op
            continue
        ideal = float(rates.ideal_seconds(op)) / took
        moved = op.count * float(op.bytes)
        known = (bound, source.text, source.expected_error)
        dots.append(Dot(*where, op.name, group, op.lane, flops, moved, took, took / total_s, ideal, *known))
    dots.sort(key=lambda dot: -dot.seconds)
    flops = sum(dot.flops for dot in dots)
    whole = []
    peak_s = sum(
        op.count * float(value) / rates.chip.peak.of(unit)
        for op in found.ops
        for unit, value in op.flops.items()
        if unit != "alu" and op.lane in ON_CHIP
    )
    for lane in lanes:
        moved = sum(dot.bytes for dot in dots if dot.lane == lane)
        if moved:
            share = max(peak_s, moved / _bandwidth(rates, lane)) / total_s
            known = (found.bound, "sum of its Ops, lanes overlapped", found.expected_error)
            whole.append(Dot(*where, "whole step", "step", lane, flops, moved, total_s, 1.0, share, *known))
    return dots + whole


def _bandwidth(rates: Rates, lane: str) -> float:
    if lane not in (GPU, PEER):
        return rates.lane(lane).peak_bytes_per_s
    return rates.peer.bandwidth if lane == PEER else rates.chip.memory.bandwidth
