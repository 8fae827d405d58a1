"""Whether what a step holds fits in a chip's memory: a step is priced either way, and says so."""

from collections.abc import Mapping

import numpy as np

from kvsim.cost.op import Num
from kvsim.specs.hardware import Chip
from kvsim.traits.layout import Layout
from kvsim.traits.placement import HBM

OVERFULL = "does not fit"


def overfull(layout: Layout, kv_bytes: Mapping[str, Num], chip: Chip) -> list[str]:
    """A note if weights and a batch's cache are more than one chip's memory holds; of arrays, if the largest cache is.

    Args:
        kv_bytes: of the batch on one chip, by tier.
    """
    geo = layout.geo
    weights = geo.model.weight_bytes / geo.tp * layout.policy.placement.weights_in(geo)[HBM]
    cache, room = float(np.max(kv_bytes[HBM])), chip.memory.capacity
    if weights + cache <= room:
        return []
    held = f"{weights / 1e9:,.1f} GB of weights and {cache / 1e9:,.1f} GB of cache"
    return [f"{OVERFULL}: {held} on a chip of {room / 1e9:,.1f} GB; cost only"]
