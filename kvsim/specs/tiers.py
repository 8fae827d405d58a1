"""Where bytes can rest on a machine, and which shared resources a transfer from there to a chip crosses."""

from dataclasses import dataclass

from kvsim.specs.chips import Memory
from kvsim.specs.devices import Drive, Expander, Store


@dataclass(frozen=True)
class Resource:
    """What transfers share fairly: one direction of a link, a drive, a memory.

    Attributes:
        kind: link, network, memory or drive.
        of_chip: whether every chip has its own; others are one a machine.
    """

    name: str
    kind: str
    of_chip: bool


@dataclass(frozen=True)
class Hop:
    """A resource on a transfer's way: datasheet bytes/s of this transfer when it has the resource alone.

    A transfer of B bytes takes B / bytes_per_s of the resource's time. latency_s is of one request.
    """

    resource: str
    bytes_per_s: float
    latency_s: float


@dataclass(frozen=True)
class Tier:
    """A place where bytes rest.

    Attributes:
        name: hbm, dram, flash, cxl, remote or what the system file says. kind: hbm, dram, nvme, csd, cxl, remote.
        capacity_bytes: of the whole machine (hbm: of one chip).
        read, write: hops between the tier and a chip, the tier's own first; no hop for hbm. A transfer streams
            through all of them at once: the slowest sets its rate, latencies add up.
        lanes: of Ops that read and write it (`nvme_read`, `nvme_write`).
        queue_depth: requests that its devices serve at once; 1 where streams do not queue.
        device: what it consists of, `count` times.
    """

    name: str
    kind: str
    capacity_bytes: float
    read: tuple[Hop, ...]
    write: tuple[Hop, ...]
    lanes: tuple[str, str]
    queue_depth: int
    device: Memory | Drive | Expander | Store
    count: int = 1

    @property
    def read_bytes_per_s(self) -> float:
        """Datasheet bytes/s from the tier to one chip that has the way alone."""
        return min((hop.bytes_per_s for hop in self.read), default=float("inf"))

    @property
    def write_bytes_per_s(self) -> float:
        """The same from the chip to the tier."""
        return min((hop.bytes_per_s for hop in self.write), default=float("inf"))

    @property
    def read_latency_s(self) -> float:
        """Of one request, end to end."""
        return sum(hop.latency_s for hop in self.read)

    @property
    def write_latency_s(self) -> float:
        """Of one request, end to end."""
        return sum(hop.latency_s for hop in self.write)
