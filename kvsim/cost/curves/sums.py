"""Seconds of column sums of attention (kernels_ref/scorers.py): a pass for the sums of rows, one for those of keys.

Affine in FLOPs and bytes, so that steps can be priced from sums over a batch.
"""

from dataclasses import dataclass

import numpy as np

from kvsim.cost.curves import Floats, Shape
from kvsim.specs.hardware import Chip


@dataclass(frozen=True)
class ColumnSumsCurve:
    """Both passes, one after the other.

    Attributes:
        launch_s: of both kernels.
        tensor_share: of the tensor cores' peak, of one pass's FLOPs in the time of both.
        memory_share: of HBM bandwidth, of keys read once in the time of both passes.
    """

    launch_s: float
    tensor_share: float
    memory_share: float

    def seconds(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> Floats:
        """Seconds of the sums of `flops` (2 x pairs x channels of all query heads) over `bytes`."""
        parts = self.parts(chip, shape)
        found: Floats = parts["latency"] + parts["bf16 FLOPs"] + parts["HBM bandwidth"]
        return found

    def parts(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> dict[str, Floats]:
        """Latency, FLOPs, HBM bandwidth."""
        flops, moved = (np.asarray(shape[name], np.float64) for name in ("flops", "bytes"))
        return {
            "latency": self.launch_s + 0 * flops,
            "bf16 FLOPs": flops / (self.tensor_share * chip.peak.bf16),
            "HBM bandwidth": moved / (self.memory_share * chip.memory.bandwidth),
        }
