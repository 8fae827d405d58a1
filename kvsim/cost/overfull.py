"""Whether what a step holds fits in a chip's memory: a step is priced either way, and says so."""

import numpy as np

from kvsim.cost.op import Num
from kvsim.specs.hardware import Machine
from kvsim.specs.model import Model

OVERFULL = "does not fit"


def overfull(model: Model, tp: int, in_hbm: float, kv_bytes: Num, machine: Machine) -> list[str]:
    """A note if weights and cache are more than one chip's memory holds; of arrays, if the largest cache is.

    Args:
        in_hbm: share of the weights that rests in HBM. kv_bytes: of the batch, in one chip's HBM.
    """
    weights, cache = model.weight_bytes / tp * in_hbm, float(np.max(kv_bytes))
    room = machine.chip.memory.capacity
    if weights + cache <= room:
        return []
    held = f"{weights / 1e9:,.1f} GB of weights and {cache / 1e9:,.1f} GB of cache"
    return [f"{OVERFULL}: {held} on a chip of {room / 1e9:,.1f} GB; cost only"]
