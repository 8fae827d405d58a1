"""Seconds of a grouped GEMM, as MoE layers use it: each expert's rows fill tiles of their own, and read its weights."""

from dataclasses import dataclass

import numpy as np

from kvsim.cost.curves import Floats, Shape, bodies
from kvsim.specs.hardware import DTYPE_BYTES, Chip

COLUMNS = 256  # of a tile
ROWS = 128  # of a tile
MANY = 2048  # rows of all experts from which the library takes another kernel
OUTPUT_BYTES = 2


@dataclass(frozen=True)
class GroupedGemmCurve:
    """Tiles of all experts in waves over the SMs; rows are routed at random, evenly in expectation.

    Attributes:
        launch_s: of the kernel and of the one before it that lists the experts' matrices.
        few_share, many_share: of the tensor cores' peak, of the kernel for few rows and of that for many.
        memory_share: of HBM bandwidth.
        step_s: of each k of a tile, by latency.
        exposed: share of the shorter of compute and HBM traffic that the longer does not hide, of the kernel for many.
    """

    launch_s: float
    few_share: float
    many_share: float
    memory_share: float
    step_s: float
    exposed: float

    def seconds(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> Floats:
        """Seconds of [rows, k] x [k, n] of `used` experts. Shape: rows, used, n, k, dtype (of the weights)."""
        latency, compute, steps, memory = self._work(chip, shape)
        exposed = np.where(shape["rows"] >= np.asarray(MANY), self.exposed, 0.0)
        found: Floats = latency + np.maximum(bodies([compute, memory], exposed), steps)
        return found

    def parts(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> dict[str, Floats]:
        """Latency, FLOPs, HBM bandwidth."""
        latency, compute, steps, memory = self._work(chip, shape)
        return {"latency": latency + steps, f"{shape['dtype']} FLOPs": compute, "HBM bandwidth": memory}

    def _work(self, chip: Chip, shape: Shape) -> tuple[Floats, Floats, Floats, Floats]:
        """Latency, compute, the latency of tiles' steps over k, HBM traffic."""
        rows, used, n, k = (np.asarray(shape[name], np.float64) for name in ("rows", "used", "n", "k"))
        width, sms = DTYPE_BYTES[shape["dtype"]], chip.multiprocessors
        many = rows >= MANY
        tiles = used * tiles_of(rows / np.maximum(used, 1e-9)) * np.ceil(n / COLUMNS)
        waves = tiles / sms
        share = np.where(many, self.many_share, self.few_share)
        compute = waves * (2.0 * ROWS * COLUMNS * k * sms) / (share * chip.peak.of(shape["dtype"]))
        moved = used * n * k * width + rows * (k * width + n * OUTPUT_BYTES)
        memory = moved / (self.memory_share * chip.memory.bandwidth)
        steps = np.ceil(waves) * k * self.step_s
        return np.full_like(memory, self.launch_s), compute, steps, memory


def tiles_of(rows: Floats) -> Floats:
    """Tiles of ROWS rows that an expert needs, in expectation, where it gets `rows` in the mean.

    Draws spread by their square root around the mean: near a multiple of ROWS some experts need one tile more.
    """
    mean = rows / ROWS
    spread = np.minimum(0.5, 1.2533 * np.sqrt(rows) / ROWS)  # a ramp as steep as the normal distribution's
    at = np.rint(mean)
    found: Floats = np.maximum(1, at + np.clip((mean - at) / (2 * np.maximum(spread, 1e-9)) + 0.5, 0, 1))
    return found
