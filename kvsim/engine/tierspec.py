"""The tiers below HBM that the setting `tiers` names: `dram:bytes=64GB+flash:writes=back:eviction=lfu+remote`."""

from dataclasses import dataclass
from typing import Literal, get_args

from kvsim import units
from kvsim.errors import UserError
from kvsim.traits.eviction import Eviction, online
from kvsim.traits.policy import parameters, require

Writes = Literal["through", "back", "selective"]
Order = Literal["page_first", "layer_first", "token_first"]


@dataclass(frozen=True)
class TierSpec:
    """One tier of the prefix cache.

    Attributes:
        name: of a tier of the machine (dram, flash, cxl, remote).
        bytes: of a host's that the cache may fill, such as 64GB; all there is by default (of DRAM, dram_utilization).
        eviction: order in which copies are given up, see `kvsim list prefix`.
        writes: what comes from the tier above is written when it is filled there (through), when it is given up there
            (back), or when a second request has used it (selective).
        layout: what is contiguous in this tier, and so one request of a transfer: a block over all layers (page_first),
            one layer's keys or values of it (layer_first), or those of one token (token_first).
        depth: transfers that its devices serve at once, others wait their turn; 0 for all, each at its fair share.
        shared: whether all replicas of a host find what any of them wrote; remote tiers always are, between all hosts.
    """

    name: str
    bytes: str = ""
    eviction: str = "lru"
    writes: str = "through"
    layout: str = "page_first"
    depth: int = 0
    shared: bool = False

    def __post_init__(self) -> None:
        online(self.eviction)
        for key, kind in (("writes", Writes), ("layout", Order)):
            known = ", ".join(get_args(kind))
            require(getattr(self, key) in get_args(kind), f"{key} must be one of {known}, but got {getattr(self, key)}")
        require(self.depth >= 0, f"depth must be at least 0, but got {self.depth}")
        require(not self.bytes or self.most_bytes > 0, f"bytes must be more than 0, but got {self.bytes}")

    @property
    def order(self) -> Eviction:
        """Its order of eviction."""
        return online(self.eviction)

    @property
    def most_bytes(self) -> float:
        """The limit that `bytes` sets; infinity if it sets none."""
        return float(units.bytes_of(self.bytes, f"tiers: {self.name}: bytes")) if self.bytes else float("inf")


def tier_specs(text: str) -> tuple[TierSpec, ...]:
    """The tiers that `text` names, the one next to HBM first.

    Raises:
        UserError: an unknown parameter, a value out of range, a tier named twice, or hbm.
    """
    found: list[TierSpec] = []
    for part in text.split("+") if text else ():
        name, *pairs = part.strip().split(":")
        spec = parameters(TierSpec, [f"name={name}", *pairs], f"tiers: {name!r}")
        if name == "hbm" or not name:
            raise UserError(f"tiers: names tiers below hbm, such as dram+flash, but got {text!r}")
        if any(other.name == name for other in found):
            raise UserError(f"tiers: {name} is named twice in {text!r}")
        found.append(spec)
    return tuple(found)
