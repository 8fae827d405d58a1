"""Recall: the whole cache rests in a slower tier; the chip holds an index of it and the rows chosen of late."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from kvsim.cost.geometry import Geometry
from kvsim.cost.op import Num, Op
from kvsim.traits.placement import DRAM, HBM, Ints, Placement, Resting, stream_ops


@dataclass(frozen=True)
class Recalled(Placement):
    """A decode step fetches the chosen rows that the chip does not hold; a layer's while the one before computes.

    Attributes:
        cached: tokens whose rows the chip holds of each kv head and layer.
        dense_layers: first layers that stay in HBM whole.
        repeat_heads: rows are fetched and held once for every query head (released codes).
        reads_past: a prefill chunk fetches its past; otherwise what it attends to is still on the chip.
        tier: where the cache rests.
    """

    cached: int
    dense_layers: int = 0
    repeat_heads: bool = False
    reads_past: bool = True
    tier: str = DRAM

    @property
    def home(self) -> str:  # type: ignore[override]
        """The tier where it rests."""
        return self.tier

    @property
    def fetches_past(self) -> bool:  # type: ignore[override]
        """As told."""
        return self.reads_past

    def _copies(self, geo: Geometry) -> int:
        return geo.query_heads // geo.kv_heads if self.repeat_heads else 1

    def _away(self, geo: Geometry) -> int:
        return geo.model.layers - min(self.dense_layers, geo.model.layers)

    def rest(self, held: Resting, geo: Geometry) -> dict[str, Ints]:
        """Rows of all but dense layers in the tier; those layers, the index and the rows held in HBM."""
        one, rows = 2 * (geo.key_dim + geo.value_dim), self.moved(held.rows, geo)
        recent = np.minimum(rows, self.cached * one * geo.kv_heads * self._away(geo)) * self._copies(geo)
        return {HBM: held.total - rows + recent, self.tier: rows}

    def units(self, geo: Geometry) -> int:
        """Layers that are not dense."""
        return max(1, self._away(geo))

    def moved(self, whole: Any, geo: Geometry) -> Any:
        """What is not in dense layers."""
        return whole * self._away(geo) // geo.model.layers

    def fetched(self, stored: Ints, geo: Geometry) -> Ints:
        """What the selection recalls."""
        return stored * self._copies(geo)

    def move_ops(self, geo: Geometry, fetched: Num, returned: Num) -> list[Op]:
        """One stream each way."""
        return stream_ops(self.tier, self.units(geo), self.grain_bytes, fetched, returned)
