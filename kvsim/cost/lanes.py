"""What the lanes beside a chip carry for it: links, drives, memories, networks, processors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kvsim.cost.devices import cpu as cpus
from kvsim.cost.devices import flash
from kvsim.cost.op import CPU, CSD, D2H, H2D
from kvsim.errors import UserError
from kvsim.specs.devices import Drive
from kvsim.specs.hardware import Cpu, Machine
from kvsim.specs.tiers import Hop, Tier

COPY_SHARE = 0.85  # of a bus: pinned cudaMemcpyAsync, 25-27 of 31.5 GB/s (PCIe 4), 53-55 of 63 (PCIe 5)
ENGINE_SHARE = 0.80  # of a drive's flash channels and FLOP/s: pages that arrive in bursts, engines that fill and drain
NEEDS = {
    "nvme_read": "a drive: add +nvme to --hw",
    "nvme_write": "a drive: add +nvme to --hw",
    CSD: "a computational drive: add +csd to --hw",
    "cxl": "a CXL memory: add +cxl to --hw",
    "nic": "a remote store: add +rdma or +tcp to --hw",
    "codec": "a chip whose video decoders are described (`codec:` in its file)",
    CPU: "a host whose processor is described (`cpu:` in its file)",
}


@dataclass(frozen=True)
class Lane:
    """A lane of one chip: bytes/s, seconds of one transfer or launch, FLOP/s (0 where it computes nothing).

    Attributes:
        what: the resource, in the words of a report. peak_bytes_per_s, peak_flops_per_s: its datasheet.
        by_shape: bytes/s for an Op's shape, where grain matters (`request_bytes` of a drive, `row_bytes` of a gather).
    """

    what: str
    bytes_per_s: float
    latency_s: float
    peak_bytes_per_s: float
    flops_per_s: float = 0.0
    peak_flops_per_s: float = 0.0
    by_shape: Callable[[Mapping[str, Any]], float] | None = None

    def rate(self, shape: Mapping[str, Any]) -> float:
        """Bytes/s for an Op of this shape: rows that are gathered one by one come slower."""
        return self.by_shape(shape) if self.by_shape else self.bytes_per_s


def lanes(machine: Machine, chips: int) -> dict[str, Lane]:
    """Lanes of one of `chips` chips that work alike: what all of them share is divided by their number."""
    dram = machine.tier("dram")
    found = {H2D: _bus(dram.read, chips, machine, H2D), D2H: _bus(dram.write, chips, machine, D2H)}
    for tier in machine.tiers[2:]:
        found |= _device(tier, chips)
    codec = machine.chip.codec
    if codec:
        rate = codec.engines * codec.rate
        found["codec"] = Lane("video decoders", rate, 0.0, rate)
    if machine.host.cpu:
        found[CPU] = _processors(machine.host.cpu, machine.host.memory.bandwidth / chips, chips)
    return found


def missing(lane: str, machine: str) -> UserError:
    """The error for an Op on a lane that the machine has not."""
    return UserError(f"hw {machine}: has no {lane} lane; that takes {NEEDS.get(lane, 'one')}")


def _processors(cpu: Cpu, memory_bytes_per_s: float, chips: int) -> Lane:
    def by_shape(shape: Mapping[str, Any]) -> float:
        return cpus.bytes_per_s(
            cpu, memory_bytes_per_s, shape.get("row_bytes"), shape.get("numa_aware", True), shape.get("threads", 0)
        )

    flops = cpu.flops / chips
    stream, reached = cpus.MEMORY_SHARE * memory_bytes_per_s, cpu.flops_share * flops
    return Lane("host DRAM", stream, cpu.dispatch, memory_bytes_per_s, reached, flops, by_shape)


def _drives(drive: Drive, many: float, cap: float, writes: bool) -> Callable[[Mapping[str, Any]], float]:
    """Bytes/s by shape of `many` striped drives (a share of them, where chips share): requests spread evenly."""
    of_drive = flash.write_bytes_per_s if writes else flash.read_bytes_per_s

    def by_shape(shape: Mapping[str, Any]) -> float:
        request, depth = (
            shape.get("request_bytes", flash.LARGE_BYTES),
            shape.get("queue_depth", drive.queue_depth * many),
        )
        return min(cap, many * float(of_drive(drive, request, max(depth / many, 1.0))))

    return by_shape


def _bus(hops: tuple[Hop, ...], chips: int, machine: Machine, lane: str) -> Lane:
    """A link of the chip's own, held back where memory or a switch that all chips share gives less.

    Its share and the start of a copy are measured ones, where copies over such a link were measured.
    """
    own = [hop for hop in hops if hop.resource.startswith("host link")]
    others = [hop for hop in hops if not hop.resource.startswith("host link")]
    link, shared = min(hop.bytes_per_s for hop in own), [hop.bytes_per_s / chips for hop in others]
    measured = machine.host_curves.curve("copy", lane) if machine.host_curves else None
    share = measured.curve.link_share if measured else COPY_SHARE
    start_s = measured.curve.start_s if measured else sum(hop.latency_s for hop in own)
    latency_s = start_s + sum(hop.latency_s for hop in others)
    return Lane("host link", min(share * link, *shared), latency_s, min([link, *shared]))


def _device(tier: Tier, chips: int) -> dict[str, Lane]:
    """Lanes of a tier's devices: the way to the host link, which is a lane of its own."""
    read, write = tier.lanes
    made = {}
    for name, hops, writes in ((read, tier.read, False), (write, tier.write, True)):
        own = [hop for hop in hops if not hop.resource.startswith("host link")]
        peak, ends = min(hop.bytes_per_s for hop in own) / chips, (hops[0], hops[-1])
        carried = min((_SHARE.get(tier.kind, 1.0) if hop in ends else 1.0) * hop.bytes_per_s for hop in own) / chips
        by_shape = None
        if isinstance(tier.device, Drive):
            by_shape = _drives(tier.device, tier.count / chips, carried, writes)
        latency = sum(hop.latency_s for hop in own)
        made[name] = Lane(_WHAT[tier.kind], carried, latency, peak, by_shape=by_shape)
    if isinstance(tier.device, Drive) and tier.device.engine:
        engine, many = tier.device.engine, tier.count / chips
        inside = many * engine.internal_bytes_per_s
        made[CSD] = Lane(
            "flash channels", ENGINE_SHARE * inside, tier.device.read_latency, inside,
            ENGINE_SHARE * many * engine.flops, many * engine.flops,
        )  # fmt: skip
    return made


_SHARE = {"cxl": cpus.MEMORY_SHARE}  # drives' datasheets state what reads reach through their ports
_WHAT = {"nvme": "flash", "csd": "flash", "cxl": "CXL memory", "remote": "network"}
