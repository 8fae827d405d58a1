"""Seconds of a pass that streams bytes through the chip's plain cores: norms, activations, rotations, cache writes."""

from dataclasses import dataclass

import numpy as np

from kvsim.cost.curves import Floats, Shape
from kvsim.specs.hardware import Chip


@dataclass(frozen=True)
class PassCurve:
    """Launches of one pass, and its bytes.

    Attributes:
        launch_s: a launch's ramp and drain inside a graph.
        memory_share: of HBM bandwidth.
    """

    launch_s: float
    memory_share: float

    def seconds(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> Floats:
        """Seconds of `launches` launches that move `bytes` in all."""
        parts = self.parts(chip, shape)
        found: Floats = parts["latency"] + parts["HBM bandwidth"]
        return found

    def parts(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> dict[str, Floats]:
        """Launches, HBM bandwidth."""
        moved = np.asarray(shape["bytes"] / (self.memory_share * chip.memory.bandwidth), np.float64)
        return {
            "latency": np.asarray(shape["launches"], np.float64) * self.launch_s + 0 * moved,
            "HBM bandwidth": moved,
        }
