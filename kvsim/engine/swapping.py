"""Where preempted sequences go with `preemption=swap`: room and ways of the tier that `swap_tier` names."""

from kvsim.cost.devices.flash import LARGE_BYTES
from kvsim.engine.capacity import Capacity
from kvsim.engine.roads import Roads
from kvsim.engine.serving import Serving
from kvsim.engine.tierspec import tier_specs
from kvsim.errors import UserError
from kvsim.specs.hardware import Machine
from kvsim.traits.layout import Layout
from kvsim.traits.placement import DRAM, HBM


def swap_bytes(machine: Machine, layout: Layout, room: Capacity, serving: Serving) -> int:
    """A chip's share of the swap tier, without what the prefix cache has of it; 0 if the policy's cache rests there.

    Raises:
        UserError: the machine has no such tier, or the prefix cache takes all of it.
    """
    name = serving.swap_tier
    if name == HBM:
        raise UserError("swap_tier: sequences are swapped out of hbm; name a tier below it, such as dram")
    tier = machine.tier(name)
    if layout.policy.placement.home == name:
        return 0
    share = room.pool_bytes[DRAM] if name == DRAM else int(tier.capacity_bytes) // machine.chips
    for spec in tier_specs(serving.tiers):
        if spec.name == name:
            share -= int(min(share, spec.most_bytes // machine.chips))
            if not share:
                raise UserError(
                    f"swap_tier={name}: the prefix cache takes all of it; limit that, such as tiers={name}:bytes=64GB"
                )
    return share


def swap_ways(machine: Machine, serving: Serving, tp: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """(latency, bytes/s) of swapping in and out, each way alone."""
    roads, tier = Roads(machine, tp), machine.tier(serving.swap_tier)
    into, out = roads.down(tier, 0, LARGE_BYTES), roads.up(tier, 0, LARGE_BYTES)
    return (into.latency_s, 1 / into.alone_s_per_byte), (out.latency_s, 1 / out.alone_s_per_byte)
