"""A machine as a tree of nodes: the host at its root, switches, chips and devices below, a link above each.

A transfer climbs from one end to the node that both ends hang below, and descends to the other. Drives that cannot copy
straight to a chip go through the host and bounce in its DRAM.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from kvsim.errors import UserError
from kvsim.specs.chips import Chip, Host, Link
from kvsim.specs.devices import Drive, Expander, Store
from kvsim.specs.tiers import Hop, Resource, Tier

HOST = "host"
_LANES = {
    "nvme": ("nvme_read", "nvme_write"),
    "csd": ("nvme_read", "nvme_write"),
    "cxl": ("cxl", "cxl"),
    "remote": ("nic", "nic"),
}
_TIERS = {"nvme": "flash", "csd": "flash", "cxl": "cxl", "remote": "remote"}


@dataclass(frozen=True)
class Node:
    """A switch: its link up, and the node that it is attached to."""

    name: str
    link: Link
    to: str


@dataclass(frozen=True)
class Device:
    """`count` alike devices, striped: each with a `link` of its own to node `to`."""

    name: str
    device: Drive | Expander | Store
    link: Link
    to: str
    count: int
    tier: str

    @property
    def price_usd(self) -> float:
        """Of all of them; a store has none."""
        return 0.0 if isinstance(self.device, Store) else self.count * self.device.price

    @property
    def kind(self) -> str:
        """nvme, csd (a drive with an engine), cxl or remote."""
        return "csd" if isinstance(self.device, Drive) and self.device.engine else self.device.kind


def tier_name(kind: str) -> str:
    """The tier that devices of a kind make unless their file says otherwise."""
    return _TIERS[kind]


def tiers(
    chip: Chip,
    host: Host,
    host_link: Link,
    chip_to: str,
    switches: Sequence[Node],
    devices: Sequence[Device],
    where: str,
) -> tuple[tuple[Tier, ...], tuple[Resource, ...]]:
    """The machine's tiers with their ways to a chip, and what transfers share.

    Raises:
        UserError: a node hangs on one that does not exist, on itself through others (a cycle), or two devices make
            the same tier.
    """
    nodes = {node.name: node for node in switches}
    for name, to in [("chips", chip_to), *((n.name, n.to) for n in switches), *((d.name, d.to) for d in devices)]:
        if to not in (HOST, *nodes):
            raise UserError(
                f"machine {where}: {name} is attached to {to!r}, which no link leads to; there are: host"
                + "".join(f", {node}" for node in nodes)
            )
    chip_way = _climb(chip_to, nodes, where)
    found = [
        Tier("hbm", "hbm", chip.memory.capacity, (), (), ("gpu", "gpu"), 1, chip.memory),
        _dram(host, host_link, chip_way),
    ]
    for device in devices:
        if device.tier in (tier.name for tier in found):
            raise UserError(
                f"machine {where}: {device.name} makes the tier {device.tier}, which exists already; "
                "name another with `tier:`"
            )
        found.append(_tier(device, host, host_link, _climb(device.to, nodes, where), chip_way))
    return tuple(found), _resources(found, switches)


def _climb(start: str, nodes: dict[str, Node], where: str) -> list[Node]:
    """The switches from a node up to the host."""
    way: list[Node] = []
    at = start
    while at != HOST:
        if nodes[at] in way:
            names = " -> ".join([*(node.name for node in way[way.index(nodes[at]) :]), at])
            raise UserError(f"machine {where}: switches form a cycle ({names}); one of them must go to host")
        way.append(nodes[at])
        at = nodes[at].to
    return way


def _dram(host: Host, host_link: Link, chip_way: Sequence[Node]) -> Tier:
    memory = Hop("dram", host.memory.bandwidth, 0.0)
    down = [*(_hop(node, "down") for node in reversed(chip_way)), _link_hop("host link down", host_link)]
    up = [_link_hop("host link up", host_link), *(_hop(node, "up") for node in chip_way)]
    return Tier("dram", "dram", host.memory.capacity, (memory, *down), (*up, memory), ("h2d", "d2h"), 1, host.memory)


def _tier(device: Device, host: Host, host_link: Link, way: Sequence[Node], chip_way: Sequence[Node]) -> Tier:
    """The tier of striped devices: device, its links, the switches to the common node, and down to a chip."""
    own, many, kind = device.device, device.count, device.kind
    if isinstance(own, Expander):
        read = write = (own.memory.bandwidth, own.latency)
        capacity = own.memory.capacity
    elif isinstance(own, Drive):
        read, write = (own.read, own.read_latency), (own.write, own.write_latency)
        capacity = own.capacity
    else:
        read, write = (own.read, own.latency), (own.write, own.latency)
        capacity = own.capacity
    peer = isinstance(own, Expander) or own.peer
    shared = [node for node in way if node in chip_way] if peer else []
    climb = [node for node in way if node not in shared]
    descend = [node for node in chip_way if node not in shared]
    # a bounce writes DRAM and reads it again: half of its bandwidth for what passes
    bounce = [] if peer else [Hop("dram", host.memory.bandwidth / 2, 0.0)]
    link = Hop(f"{device.name} link up", many * device.link.bandwidth, device.link.latency)
    back = Hop(f"{device.name} link down", many * device.link.bandwidth, device.link.latency)
    reads = (
        Hop(device.name, many * read[0], read[1]),
        link,
        *(_hop(node, "up") for node in climb),
        *bounce,
        *(_hop(node, "down") for node in reversed(descend)),
        _link_hop("host link down", host_link),
    )
    writes = (
        _link_hop("host link up", host_link),
        *(_hop(node, "up") for node in descend),
        *bounce,
        *(_hop(node, "down") for node in reversed(climb)),
        back,
        Hop(device.name, many * write[0], write[1]),
    )
    depth = many * own.queue_depth if isinstance(own, Drive) else many
    return Tier(device.tier, kind, many * capacity, reads, writes, _lanes(device), depth, own, many)


def _lanes(device: Device) -> tuple[str, str]:
    """The usual lanes of its kind, or lanes of its own where it makes a tier of its own name."""
    if device.tier == tier_name(device.kind):
        return _LANES[device.kind]
    return f"{device.tier}_read", f"{device.tier}_write"


def _hop(node: Node, way: str) -> Hop:
    return _link_hop(f"{node.name} {way}", node.link)


def _link_hop(name: str, link: Link) -> Hop:
    return Hop(name, link.bandwidth, link.latency)


def _resources(found: Sequence[Tier], switches: Sequence[Node]) -> tuple[Resource, ...]:
    """Every resource that a hop names, once."""
    resources: dict[str, Resource] = {}
    for tier in found:
        for hop in (*tier.read, *tier.write):
            of_chip = hop.resource in ("host link up", "host link down")
            kind = "memory" if hop.resource == "dram" else "link"
            if hop.resource not in ("dram",) and not hop.resource.endswith((" up", " down")):
                kind = "drive" if tier.kind in ("nvme", "csd") else "memory" if tier.kind == "cxl" else "network"
            resources.setdefault(hop.resource, Resource(hop.resource, kind, of_chip))
    return tuple(resources.values())
