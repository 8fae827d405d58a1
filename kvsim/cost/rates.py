"""From an Op to seconds: by a curve fitted to its kernel, or `launches x latency + max(FLOPs / rate, bytes / rate)`.

The shares below stand in where no curve exists; a report calls every figure made with them "datasheet".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from kvsim.cost import experts
from kvsim.cost.calibration import BESIDE_CHUNK, NOTHING, Calibrated, Fitted, InSteps
from kvsim.cost.devices import fpga
from kvsim.cost.lanes import COPY_SHARE, Lane, lanes, missing
from kvsim.cost.op import D2H, GPU, H2D, PEER, Num, Op
from kvsim.cost.source import OVERLAY, Source, datasheet, in_step, of_curve
from kvsim.specs.hardware import Chip, Link, Machine

# kind -> (share of the tensor peak, share of the memory's or link's datasheet bandwidth) that a good kernel reaches.
EFFICIENCY: dict[str, tuple[float, float]] = {
    "gemm": (0.70, 0.85),  # large cuBLAS GEMMs run at 65-75 % of a dense peak under the power cap
    "grouped_gemm": (0.70, 0.85),  # of experts, likewise
    "attention_prefill": (0.55, 0.80),  # of tensor cores: what Chip.flash says of the generation
    "attention_decode": (0.50, 0.80),  # split-KV decode: 75-85 % of HBM above 0.25 GB of cache
    "ragged_decode": (0.50, 0.80),
    "elementwise": (0.50, 0.80),  # streaming kernels
    "column_sums": (0.55, 0.80),
    "packed_decode": (0.50, 0.80),
    "gathered_decode": (0.50, 0.80),
    "mla_decode": (0.50, 0.80),
    "lowrank_decode": (0.50, 0.80),
    "shared_prefix_decode": (0.55, 0.80),
    "pack": (0.50, 0.80),
    "compaction": (0.50, 0.80),
    "copy": (1.0, COPY_SHARE),
    "all_reduce": (1.0, 0.75),  # NCCL ring over NVLink at large messages
}
ON_CHIP = (GPU, PEER)
RATED = ("elementwise", "column_sums")
ALU_SHARE = 0.60  # of the plain cores' issue rate, in kernels that also load and multiply
LAUNCH_S = 2.5e-6  # of a kernel inside a CUDA graph: its ramp and drain, which nothing overlaps


@dataclass(frozen=True)
class Rates:
    """Rates of one machine's lanes. `peer` is the link that joins the chips of one replica; curves are fitted ones."""

    chip: Chip
    host_link: Link
    peer: Link
    curves: Calibrated = NOTHING
    peer_curves: Calibrated = NOTHING
    lanes: Mapping[str, Lane] = field(default_factory=dict)
    machine: str = ""
    host_curves: Calibrated = NOTHING

    @classmethod
    def of(cls, machine: Machine, tp: int) -> "Rates":
        """The rates of a replica of `tp` chips of `machine`."""
        peer = machine.peer_link(tp)
        known = {link.name: curves for link, curves in zip(machine.peer_links, machine.peer_curves, strict=False)}
        curves, host = machine.curves or NOTHING, machine.host_curves or NOTHING
        near = known.get(peer.name, NOTHING)
        return cls(machine.chip, machine.host_link, peer, curves, near, lanes(machine, tp), machine.name, host)

    def lane(self, name: str) -> Lane:
        """What a lane beside the chip carries.

        Raises:
            UserError: the machine has no such lane.
        """
        if name not in self.lanes:
            raise missing(name, self.machine)
        return self.lanes[name]

    def fitted(self, op: Op) -> Fitted | None:
        """The curve that prices an Op by its shape, if there is one."""
        if "dtype" not in op.shape:
            return None
        return self._measured(op).curve(op.kind, op.shape["dtype"], op.shape.get("kernel", ""))

    def _single(self, op: Op) -> Fitted | None:
        """The curve of one expert's GEMM."""
        return self.curves.curve("gemm", op.shape["dtype"])

    def streams(self, op: Op) -> Fitted | None:
        """The curve whose start and rates price passes over memory, and column sums, by launches, bytes and FLOPs."""
        return self.curves.curve(op.kind, "bf16") if op.kind in RATED and op.lane == GPU else None

    def _measured(self, op: Op) -> Calibrated:
        """What was measured of the chip or link that an Op uses."""
        return {"copy": self.host_curves, "all_reduce": self.peer_curves}.get(op.kind, self.curves)

    def coefficients(self, op: Op) -> InSteps | None:
        """What prices attention inside a step, from sums over its batch, if its chip was measured."""
        if "queries" not in op.shape:
            return None
        if "own" in op.shape and (found := self.curves.in_steps(*op.shape["own"])):
            return found
        if op.shape.get("latent"):  # no other kernel reads latents
            return None
        if "beside_chunk" in op.shape and (found := self.curves.in_steps(BESIDE_CHUNK)):
            return found
        return self._alone(op)

    def _alone(self, op: Op) -> InSteps | None:
        """Of a kernel that no other work shares."""
        return self.curves.in_steps(op.kind, alone=op.shape.get("alone", False))

    def source(self, op: Op) -> Source:
        """Where its seconds come from."""
        if self.chip.fpga and op.lane == GPU:
            return OVERLAY
        one = self.fitted(op) or self.streams(op)
        if op.kind == "copy" and op.lane in (H2D, D2H):
            one = self.host_curves.curve("copy", op.lane, op.shape.get("kernel", ""))
        if one and op.kind == experts.GROUPED:
            return of_curve(one, self._measured(op), experts.named(one, self._single(op)))
        if one:
            return of_curve(one, self._measured(op))
        coefficients = self.coefficients(op)
        if not coefficients:
            return datasheet(op.kind)
        of = "attention_prefill" if coefficients.op == BESIDE_CHUNK else coefficients.op
        curve = self.curves.curve(of, coefficients.dtype)
        if curve is None:
            return datasheet(op.kind)
        return in_step(coefficients, curve, self.curves, "dequantizes" in op.shape and coefficients.op == op.kind)

    def latency_s(self, op: Op) -> float:
        """Seconds of one kernel that no work amortizes."""
        if op.lane not in ON_CHIP:
            return op.launches * self.lane(op.lane).latency_s
        if one := self.streams(op):
            return op.launches * float(one.curve.launch_s)
        if op.kind == "all_reduce":  # reduce-scatter and all-gather: gpus - 1 hops each
            return LAUNCH_S + 2 * (op.gpus - 1) * self.peer.latency
        coefficients = self.coefficients(op)
        if coefficients and coefficients.op == BESIDE_CHUNK:
            return max(op.launches * coefficients.latency_s, self._launch_apart_s(op))
        return op.launches * (coefficients.latency_s if coefficients else LAUNCH_S)

    def _launch_apart_s(self, op: Op) -> float:
        """What launches of decodes alone take longer than that of prompts: a chunk makes no step shorter."""
        alone, prompts = self._alone(op), self.curves.in_steps("attention_prefill")
        return op.launches * alone.latency_s - prompts.latency_s if alone and prompts else 0.0

    def bytes_per_s(self, op: Op) -> float:
        """What its lane carries for this class of Op."""
        if op.lane not in ON_CHIP:
            return self.lane(op.lane).rate(op.shape)
        share = EFFICIENCY[op.kind][1]
        if one := self.streams(op):
            share = float(one.curve.memory_share)
        if op.kind == "all_reduce":
            return share * self.peer.bandwidth
        return share * self.chip.memory.bandwidth

    def flops_per_s(self, op: Op, unit: str) -> float:
        """What a unit of the chip computes for this class of Op; "alu" counts instructions of one lane."""
        if op.lane not in ON_CHIP:
            return self.lane(op.lane).flops_per_s
        if unit == "alu":
            return self.alu_per_s
        one = self.streams(op)
        peak = self.chip.peak.of(unit)
        if measured := getattr(one.curve, "tensor_share", 0.0) if one else 0.0:
            return float(measured) * peak
        share = self.chip.flash.share if op.kind == "attention_prefill" else EFFICIENCY[op.kind][0]
        return _reached(share, peak, self.chip.peak.slowed)

    @cached_property
    def alu_per_s(self) -> float:
        """Lane instructions a second of the plain cores: half their FLOP/s (a fused multiply-add counts as two)."""
        return ALU_SHARE * self.chip.peak.fp32 / 2

    def terms(self, op: Op) -> dict[str, Num]:
        """Seconds of one kernel by what could bound it; it takes the latency plus the largest of the others."""
        if self.chip.fpga and op.lane == GPU:
            return fpga.terms(self.chip, self.chip.fpga, op)
        found: dict[str, Num] = {"latency": self.latency_s(op)}
        coefficients = self.coefficients(op)
        if coefficients:
            found |= self._in_step(op, coefficients)
            alone = self._alone(op)
            if coefficients.op == BESIDE_CHUNK and alone:  # no cache is read faster for standing beside a prompt
                found |= {f"{name}, as alone": took for name, took in self._in_step(op, alone).items()}
            return found
        for unit, flops in op.flops.items():
            found[f"{unit} FLOPs" if unit != "alu" else "plain-core arithmetic"] = flops / self.flops_per_s(op, unit)
        found[self.memory_name(op)] = op.bytes / self.bytes_per_s(op)
        if op.kind == "attention_prefill" and "new" in op.shape:
            found["longest tile"] = self._longest_tile_s(op)
        if op.kind == "column_sums" and self.streams(op):  # nothing of one hides the other
            latency = found.pop("latency")
            both = sum(found.values())
            return {"latency": latency} | dict.fromkeys(found, both)
        return found

    def _longest_tile_s(self, op: Op) -> Num:
        """Seconds of the last queries of a prompt, which no other SM can help with."""
        keys = op.shape["past"] + op.shape["new"]
        flops = 4.0 * self.chip.flash.rows * keys * op.shape["head_dim"]
        found: Num = flops * self.chip.multiprocessors / self.flops_per_s(op, "bf16")
        return found

    def memory_name(self, op: Op) -> str:
        """What an Op's bytes cross, in the words of a report."""
        if op.lane not in ON_CHIP:
            return self.lane(op.lane).what
        return "peer link" if op.kind == "all_reduce" else "HBM bandwidth"

    def _in_step(self, op: Op, fitted: InSteps) -> dict[str, Num]:
        """Terms of attention by coefficients: each holds what the others leave exposed, and stays affine."""
        chip, rows = self.chip, op.shape["kv_queries" if fitted.per_kv_head else "queries"]
        started = rows * (fitted.row_s / chip.multiprocessors)
        work = {
            f"{unit} FLOPs": flops / (fitted.tensor_share * chip.peak.of(unit))
            for unit, flops in op.flops.items()
            if unit != "alu"
        }
        work["HBM bandwidth"] = op.bytes / (fitted.memory_share * chip.memory.bandwidth)
        work["blocks in turn"] = op.shape["keys"] * fitted.key_s
        exposed = fitted.exposed * sum(work.values())
        found = {name: started + exposed + (1 - fitted.exposed) * took for name, took in work.items()}
        if "alu" in op.flops and fitted.op == op.kind:  # a kernel of a cache's own is measured with its codes
            found["plain-core arithmetic"] = started + op.flops["alu"] / self.alu_per_s
        return found

    def seconds(self, op: Op) -> Num:
        """Seconds of the whole Op (all `count` kernels) on its lane."""
        one = self.fitted(op)
        if one:
            if op.kind == experts.GROUPED:
                took = experts.seconds(one, self._single(op), self.chip, op.shape)
            else:
                took = one.curve.seconds(self._carrier(op), op.shape)
            return op.count * (took if np.ndim(took) else float(took))
        terms = self.terms(op)
        latency = terms.pop("latency")
        return op.count * (latency + _largest(list(terms.values())))

    def bound(self, op: Op) -> str:
        """What takes most of a scalar Op's time."""
        return self.bounds(op)[0]

    def bounds(self, op: Op) -> list[str]:
        """What takes most of the time of each Op in arrays."""
        one = self.fitted(op)
        terms: Mapping[str, Num]
        if one and op.kind == experts.GROUPED:
            terms = experts.parts(one, self._single(op), self.chip, op.shape)
        else:
            terms = one.curve.parts(self._carrier(op), op.shape) if one else self.terms(op)
        seconds = np.stack(np.broadcast_arrays(*(np.atleast_1d(term) for term in terms.values())))
        return [list(terms)[at] for at in seconds.argmax(axis=0).tolist()]

    def _carrier(self, op: Op) -> Chip | Link:
        return {"copy": self.host_link, "all_reduce": self.peer}.get(op.kind, self.chip)

    def ideal_seconds(self, op: Op) -> Num:
        """The Op's roofline: full datasheet peaks and bandwidth, no latency."""
        if op.lane not in ON_CHIP:
            lane = self.lane(op.lane)
            beside = [flops / lane.peak_flops_per_s for flops in op.flops.values()]
            return op.count * _largest([op.bytes / lane.peak_bytes_per_s, *beside])
        carrier = self.peer if op.kind == "all_reduce" else self.chip.memory
        times = [op.bytes / carrier.bandwidth]
        for unit, flops in op.flops.items():
            times.append(flops / (self.alu_per_s / ALU_SHARE if unit == "alu" else self.chip.peak.of(unit)))
        return op.count * _largest(times)


def _reached(share: float, peak: float, slowed: float) -> float:
    """FLOP/s of kernels that usually reach `share` of a peak, where products are `slowed` times below the full rate.

    What else a kernel waits for takes as long as at the full rate: loads, exponentials, the power limit. So a GeForce,
    whose sums in fp32 run at half rate, gets nearer to its peak: 0.82 where others get 0.70.
    """
    return peak / (1 + (1 / share - 1) / slowed)


def _largest(values: list[Num]) -> Num:
    most = values[0]
    for value in values[1:]:
        both_plain = isinstance(most, int | float) and isinstance(value, int | float)
        most = max(most, value) if both_plain else np.maximum(most, value)
    return most
