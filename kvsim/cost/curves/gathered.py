"""Seconds of kernels_ref's decode attention over pages or tokens that each kv head chose, listed in a table."""

from dataclasses import dataclass

import numpy as np

from kvsim.cost.curves import Floats, Shape
from kvsim.cost.curves.paged import PagedDecodeCurve
from kvsim.specs.hardware import Chip


@dataclass(frozen=True)
class GatheredDecodeCurve(PagedDecodeCurve):
    """The paged kernel over `read` tokens a row, of which a table lists every `grain`.

    Attributes:
        entry_s: of an entry of the table that an SM takes in.
    """

    entry_s: float = 0.0

    def seconds(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> Floats:
        """Seconds of one layer. Shape: batch, read, heads, kv_heads, head_dim, grain, dtype."""
        found: Floats = super().seconds(chip, {**shape, "context": shape["read"]}) + self._entries(chip, shape)
        return found

    def parts(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> dict[str, Floats]:
        """Latency with the table's entries, blocks in turn, HBM bandwidth."""
        found = super().parts(chip, {**shape, "context": shape["read"]})
        return found | {"latency": found["latency"] + self._entries(chip, shape)}

    def _entries(self, chip: Chip, shape: Shape) -> Floats:
        listed = np.asarray(shape["batch"] * shape["kv_heads"] * shape["read"] / shape["grain"], np.float64)
        found: Floats = listed / chip.multiprocessors * self.entry_s
        return found
