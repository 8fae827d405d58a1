"""Ways of transfers between a machine's tiers, over links that replicas share as the machine's graph says."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import inf

from kvsim.cost.devices.flash import read_bytes_per_s, write_bytes_per_s
from kvsim.cost.lanes import COPY_SHARE
from kvsim.engine.flows import Link, Way
from kvsim.specs.devices import Drive
from kvsim.specs.hardware import Machine
from kvsim.specs.tiers import Hop, Tier

End = tuple[Tier, bool]  # a tier, and whether it is read


@dataclass(frozen=True)
class Road:
    """A way for the bytes of one chip (its replica's other chips send as many at the same time).

    Attributes:
        lanes: what each is called in a report, and its busy seconds a byte of one chip.
        name: where it leads, for a timeline.
    """

    way: Way
    latency_s: float
    lanes: tuple[tuple[str, float], ...]
    name: str = ""

    @property
    def alone_s_per_byte(self) -> float:
        """Of a transfer that has the way to itself."""
        return max((cost for _, cost in self.way), default=0.0)


class Roads:
    """Every link of every host, made when it is first used. Replicas of one host share all but their chips' own."""

    def __init__(self, machine: Machine, tp: int, depths: Mapping[str, int] | None = None) -> None:
        """`depths`: transfers at once of resources by name, where it is not as many as there are."""
        self._depths = depths or {}
        self.machine, self.tp, self.per_host = machine, tp, machine.chips // tp
        self.links: dict[tuple[str, int, str], Link] = {}
        self._of_chip = {resource.name for resource in machine.resources if resource.of_chip}
        dram = machine.tier("dram")
        self._chips_way = {hop.resource for hop in (*dram.read, *dram.write)}
        self._bounce = Hop("dram", dram.read[0].bytes_per_s / 2, 0.0)

    def host(self, replica: int) -> int:
        """The host that a replica runs on."""
        return replica // self.per_host

    def down(self, tier: Tier, replica: int, request_bytes: float) -> Road:
        """From a tier to HBM."""
        road = self._road(tier.read, replica, self._lanes(tier, 0), ((tier, True),), request_bytes)
        return replace(road, name=f"{tier.name} to hbm")

    def up(self, tier: Tier, replica: int, request_bytes: float) -> Road:
        """From HBM to a tier."""
        road = self._road(tier.write, replica, self._lanes(tier, 1), ((tier, False),), request_bytes)
        return replace(road, name=f"hbm to {tier.name}")

    def between(self, source: Tier, target: Tier, replica: int, request_bytes: float) -> Road:
        """From a tier to another, through host DRAM, not past a chip."""
        out = [hop for hop in source.read if hop.resource not in self._chips_way]
        into = [hop for hop in target.write if hop.resource not in self._chips_way]
        through = self._bounce if out and into else Hop("dram", 2 * self._bounce.bytes_per_s, 0.0)
        lanes = [*([source.lanes[0]] if out else ()), *([target.lanes[1]] if into else ())]
        ends = ((source, True), (target, False))
        road = self._road((*out, through, *into), replica, lanes, ends, request_bytes)
        return replace(road, name=f"{source.name} to {target.name}")

    def _lanes(self, tier: Tier, way: int) -> list[str]:
        return list(dict.fromkeys((tier.lanes[way], ("h2d", "d2h")[way])))

    def _road(
        self, hops: Iterable[Hop], replica: int, lanes: Iterable[str], ends: Iterable[End], request_bytes: float
    ) -> Road:
        """`ends`: tiers that are read, or written."""
        costs: dict[str, float] = {}
        random = {tier.read[0].resource: _random_s_per_byte(tier, read, request_bytes) for tier, read in ends}
        latency_s = 0.0
        for hop in hops:
            latency_s += hop.latency_s
            cost = 1 / hop.bytes_per_s if hop.bytes_per_s < inf else 0.0
            cost = max(cost, random.get(hop.resource, 0.0))
            if "host link" in hop.resource:
                cost /= COPY_SHARE
            costs[hop.resource] = cost * (1 if hop.resource in self._of_chip else self.tp)
        way = tuple((self._link(name, replica), cost) for name, cost in costs.items())
        own = max((cost for name, cost in costs.items() if name not in self._chips_way), default=0.0)
        link = max((cost for name, cost in costs.items() if "host link" in name), default=0.0)
        return Road(way, latency_s, tuple((lane, link if lane in ("h2d", "d2h") else own) for lane in lanes))

    def _link(self, name: str, replica: int) -> Link:
        key = ("chip", replica, name) if name in self._of_chip else ("host", self.host(replica), name)
        if key not in self.links:
            self.links[key] = Link(name, self._depths.get(name) or inf)
        return self.links[key]


def _random_s_per_byte(tier: Tier, read: bool, request_bytes: float) -> float:
    """Of requests of this size, as many at once as the drives serve: small ones are bound by operations, not bytes."""
    drive, of_drive = tier.device, read_bytes_per_s if read else write_bytes_per_s
    if not isinstance(drive, Drive):
        return 0.0
    return 1 / (tier.count * float(of_drive(drive, request_bytes, drive.queue_depth)))
