"""Systems made of chips, links, hosts and devices: what `hardware/systems/*.yaml` holds and `--hw` names."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Optional

from pydantic import Field

from kvsim.errors import unknown
from kvsim.specs.chips import DTYPE_BYTES, Chip, Cpu, Host, Link, Memory, Peaks
from kvsim.specs.devices import Attached, Switch
from kvsim.specs.graph import Device, Node, tiers
from kvsim.specs.load import Count, Spec, UsdPerHour
from kvsim.specs.tiers import Resource, Tier

if TYPE_CHECKING:
    from kvsim.cost.calibration import Calibrated

__all__ = ["DTYPE_BYTES", "Chip", "Cpu", "Host", "Link", "Machine", "Memory", "Peaks", "System"]


class System(Spec):
    """One system file: names of a chip, its links and host (or inline definitions), and the price of one chip.

    Attributes:
        chip_to: the node that chips hang on: the host, or one of `switches`.
        devices: what else hangs on it, by a name that resources are called by.
    """

    name: str
    chip: str | Chip
    host_link: str | Link
    peer_links: list[str | Link] = Field(min_length=1)
    host: str | Host
    price: UsdPerHour = Field(ge=0)
    chips: Count = 1
    chip_to: str = "host"
    switches: dict[str, Switch] = Field(default_factory=dict)
    devices: dict[str, Attached] = Field(default_factory=dict)
    sources: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True)
class Machine:
    """A system with every name resolved: what the cost model reads.

    Attributes:
        price_usd_per_h: of one chip, with its share of the devices, written off over three years.
        curves: what was measured of the chip, `peer_curves` of each peer link, `host_curves` of the host link; None
            where nothing was.
        chip_to: the node that every chip's host link goes to; `switches` and `devices` by name.
    """

    name: str
    chip: Chip
    chips: int
    host_link: Link
    peer_links: tuple[Link, ...]
    host: Host
    price_usd_per_h: float
    curves: Optional["Calibrated"] = None
    peer_curves: tuple["Calibrated", ...] = ()
    host_curves: Optional["Calibrated"] = None
    chip_to: str = "host"
    switches: tuple[Node, ...] = ()
    devices: tuple[Device, ...] = ()

    def preferring(self, kernels: str) -> "Machine":
        """The same, priced by kernels whose names hold one of these words (by commas), where they were measured."""
        words = words_of(kernels)
        if not words or self.curves is None:
            return self
        peers = tuple(one.preferring(words) for one in self.peer_curves)
        return replace(self, curves=self.curves.preferring(words), peer_curves=peers)

    def peer_link(self, chips: int) -> Link:
        """The first listed link that joins `chips` of this system's chips (bridges join pairs, switches all)."""
        fitting = [link for link in self.peer_links if link.max_chips >= chips]
        return fitting[0] if fitting else self.peer_links[-1]

    @cached_property
    def _graph(self) -> tuple[tuple[Tier, ...], tuple[Resource, ...]]:
        return tiers(self.chip, self.host, self.host_link, self.chip_to, self.switches, self.devices, self.name)

    @property
    def tiers(self) -> tuple[Tier, ...]:
        """Where bytes can rest: hbm, dram, then the devices' tiers in their order."""
        return self._graph[0]

    @property
    def resources(self) -> tuple[Resource, ...]:
        """What transfers share."""
        return self._graph[1]

    def tier(self, name: str) -> Tier:
        """The tier of that name.

        Raises:
            UserError: the machine has none.
        """
        for tier in self.tiers:
            if tier.name == name:
                return tier
        raise unknown("tier", name, [tier.name for tier in self.tiers], f"machine {self.name}")


def words_of(kernels: str) -> list[str]:
    """Of kernels' names, by commas."""
    return [word.strip() for word in kernels.split(",") if word.strip()]
