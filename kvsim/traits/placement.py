"""Placement: in which tier the cache rests, what crosses the host link, and how the lanes overlap."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kvsim.cost.geometry import Geometry
from kvsim.cost.op import Num

Ints = NDArray[np.int64]
HBM, DRAM = "hbm", "dram"


@dataclass(frozen=True)
class Placement:
    """The cache rests in HBM and nothing moves: the null placement."""

    home = HBM

    def rest(self, allocated: Ints, geo: Geometry) -> dict[str, Ints]:
        """Bytes by tier of a sequence that allocates `allocated` bytes on this chip's share."""
        return {HBM: allocated}

    def units(self, geo: Geometry) -> int:
        """Transfers of a step in one direction: the grain in which the cache moves; 0 when it does not."""
        return 0

    def attention_launches(self, geo: Geometry) -> float:
        """Attention kernels a layer."""
        return 1.0

    def returns_everything(self) -> bool:
        """Whether a decode step writes the whole cache back, not only the new token."""
        return False


@dataclass(frozen=True)
class HostResident(Placement):
    """The cache rests in host DRAM and visits HBM in units (a layer, or a kv head of a layer), double-buffered.

    Each decode step reads all of it over the host link; a prefill chunk reads its past and writes its new rows.
    """

    by_head: bool
    buffers: int = 2
    writes_back: bool = False
    home = DRAM

    def rest(self, allocated: Ints, geo: Geometry) -> dict[str, Ints]:
        """All of it in DRAM, `buffers` units of it in HBM."""
        return {HBM: -(-allocated * self.buffers // self.units(geo)), DRAM: allocated}

    def units(self, geo: Geometry) -> int:
        """Layers, or layers x kv heads."""
        return geo.model.layers * (geo.kv_heads if self.by_head else 1)

    def attention_launches(self, geo: Geometry) -> float:
        """One kernel a unit."""
        return float(geo.kv_heads if self.by_head else 1)

    def returns_everything(self) -> bool:
        """The released HeadInfer and Hugging Face's offloading copy whole blocks back."""
        return self.writes_back


def overlapped(gpu: Num, h2d: Num, d2h: Num, units: int) -> Num:
    """Seconds of a step whose lanes work unit by unit, double-buffered: the slowest sets the pace, plus the fill.

    Of n units, the first must arrive before it is computed and the last leaves after: slowest + (others) / n.
    """
    slowest: Num
    if isinstance(gpu, float) and isinstance(h2d, float) and isinstance(d2h, float):
        slowest = max(gpu, h2d, d2h)
    else:
        slowest = np.maximum(np.maximum(gpu, h2d), d2h)
    return slowest + (gpu + h2d + d2h - slowest) / units
