"""Seconds of a GEMM on one chip: tiles over the SMs, split k, and what its operands' bytes cross."""

import math
from dataclasses import dataclass

import numpy as np

from kvsim.cost.curves import Floats, Shape, bodies
from kvsim.specs.hardware import DTYPE_BYTES, Chip

# Rows x columns of the output that one CTA computes, of the kernels that a library picks from.
TILES = ((16, 64), (32, 64), (64, 64), (64, 128), (128, 64), (128, 128), (256, 128), (128, 256))
SPLITS = (1, 2, 3, 4, 6, 8, 12, 16, 24)
FINE_ROWS, PADDED_ROWS = 1024, 16  # more rows than FINE_ROWS count as the next multiple, a step of the tensor cores
STEP_K = 32  # k is summed in blocks of this many
SPLIT_K = 64  # the least of k that one of several CTAs of a tile sums
SM_OUTPUTS = 128 * 256  # of the tiles that one SM holds at once
MERGE_BYTES_PER_CLOCK = 32  # of one SM that adds up the parts of a split k
OUTPUT_BYTES = 2


def padded(m: Floats) -> Floats:
    """Rows as the kernels see them."""
    found: Floats = np.where(np.asarray(m) > FINE_ROWS, np.ceil(np.asarray(m) / PADDED_ROWS) * PADDED_ROWS, m)
    return found


@dataclass(frozen=True)
class GemmCurve:
    """A library's kernels: the fastest of its tiles and splits runs.

    Attributes:
        launch_s: a kernel's ramp and drain.
        wave_s: filling and draining the pipelines of one wave of tiles over the SMs.
        split_s: the second pass that adds the parts of a split k.
        tensor_share: of the tensor cores' peak, for an endless tile.
        edge_rows: a tile's operands cost as much as this many rows and columns more of it.
        memory_share: of HBM bandwidth.
        load_bytes_per_clock: operands that one SM takes in.
        exposed: share of the shorter of compute, loads and HBM traffic that the longest does not hide.
        group_rows: rows that share one pass over weights too large for L2.
        kept_share: of L2, for weights that wait there for the next pass.
        output_share: of L2, for outputs; those beyond it cross HBM when their tiles end, which hides nothing.
        sustained_share: of the peak that the chip's power limit sustains.
        l2_bytes_per_clock: what one SM takes in where operands rest in L2, as they do in some benchmarks.
        cast_bytes: HBM bytes for each activation that is converted before the kernel, and waited for.
        epilogue_bytes: HBM bytes for each output that nothing overlaps.
    """

    launch_s: float
    wave_s: float
    split_s: float
    tensor_share: float
    edge_rows: float
    memory_share: float
    load_bytes_per_clock: float
    exposed: float
    group_rows: float
    l2_bytes_per_clock: float
    cast_bytes: float = 0.0
    epilogue_bytes: float = 0.0
    kept_share: float = 1.0
    output_share: float = math.inf
    sustained_share: float = 1.0

    def seconds(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> Floats:
        """Seconds of [m, k] x [k, n] at the fastest tile and split. Shape: m, n, k, dtype (of the weights)."""
        if np.ndim(shape["m"]) == 1 and np.ndim(shape["n"]) == np.ndim(shape["k"]) == np.ndim(hot) == 0:
            rows, where = np.unique(padded(shape["m"]), return_inverse=True)  # many are alike in a table by tokens
            return self._fastest(chip, {**shape, "m": rows}, hot)[where] + self._serial(chip, shape)
        return self._fastest(chip, shape, hot) + self._serial(chip, shape)

    def _fastest(self, chip: Chip, shape: Shape, hot: Floats | float) -> Floats:
        fixed, *work = self._best(chip, shape, hot)
        best: Floats = fixed + bodies(work, self.exposed)
        return best

    def parts(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> dict[str, Floats]:
        """Of the fastest kernel: latency, FLOPs, loads of the SMs, HBM bandwidth."""
        fixed, compute, loads, memory = self._best(chip, shape, hot)
        names = ("latency", f"{shape['dtype']} FLOPs", "SM loads", "HBM bandwidth")
        return dict(zip(names, (fixed, compute, loads, memory + self._serial(chip, shape)), strict=True))

    def _best(self, chip: Chip, shape: Shape, hot: Floats | float) -> list[Floats]:
        """[latency, compute, loads, HBM traffic] of the fastest kernel, seconds [...]; few tiles may split k."""
        best = self._of_kernel(chip, shape, hot, SPLITS[:1])
        least = np.min([np.ceil(shape["m"] / rows) * np.ceil(shape["n"] / columns) for rows, columns in TILES], axis=0)
        few = np.broadcast_to(least < 2 * chip.multiprocessors, best[0].shape)
        if few.all():
            return self._of_kernel(chip, shape, hot, SPLITS)
        if few.any():
            some = {name: np.broadcast_to(shape[name], few.shape)[few] for name in ("m", "n", "k")}
            split = self._of_kernel(chip, {**shape, **some}, np.broadcast_to(hot, few.shape)[few], SPLITS)
            for one, new in zip(best, split, strict=True):
                one[few] = new
        return best

    def _of_kernel(self, chip: Chip, shape: Shape, hot: Floats | float, splits: tuple[int, ...]) -> list[Floats]:
        """Terms of the kernel whose total is least."""
        fixed, work = self._kernels(chip, shape, hot, splits)
        which = np.argmin(fixed + bodies(work, self.exposed), axis=-1, keepdims=True)
        return [np.take_along_axis(np.broadcast_to(one, fixed.shape), which, -1)[..., 0] for one in (fixed, *work)]

    def _kernels(
        self, chip: Chip, shape: Shape, hot: Floats | float, splits: tuple[int, ...]
    ) -> tuple[Floats, list[Floats]]:
        """(latencies, [compute, loads, HBM traffic]) of every kernel, seconds [..., kernels]; inf if it cannot run."""
        m, n, k, hot = (np.asarray(value, np.float64)[..., None] for value in (shape["m"], shape["n"], shape["k"], hot))
        m = padded(m)
        width, sms = DTYPE_BYTES[shape["dtype"]], chip.multiprocessors
        rows, columns, parts = np.array([(*tile, split) for tile in TILES for split in splits], np.float64).T
        tiles = np.ceil(m / rows) * np.ceil(n / columns)
        ctas = tiles * parts
        waves = np.ceil(ctas / sms)
        depth = np.ceil(k / parts / STEP_K) * STEP_K  # of k that one CTA sums
        flops_per_s = chip.peak.of(shape["dtype"]) * self.tensor_share / sms
        compute = waves * depth * (2 * (rows * columns + self.edge_rows * (rows + columns)) / flops_per_s)
        compute = np.maximum(compute, 2 * m * n * k / (self.sustained_share * chip.peak.of(shape["dtype"])))
        loads = waves * depth * (np.minimum(m, rows) + np.minimum(n, columns))
        loads = loads * (width / (self.load_bytes_per_clock * chip.clock))
        weights = n * k * width
        moved = weights + m * k * width + np.minimum(m * n * OUTPUT_BYTES, self.output_share * chip.l2)
        again = np.maximum(m / self.group_rows - 1, 0) * np.maximum(weights - self.kept_share * chip.l2, 0)
        memory = (moved + again) * (1 - hot) / (self.memory_share * chip.memory.bandwidth)
        memory = memory + moved * hot / (self.l2_bytes_per_clock * chip.clock * sms)
        resident = np.maximum(1, SM_OUTPUTS / (rows * columns))
        merge = self.split_s + parts * m * n * (8 / (sms * chip.clock * MERGE_BYTES_PER_CLOCK))
        fixed = self.launch_s + self.wave_s * np.ceil(ctas / (sms * resident)) + np.where(parts > 1, merge, 0)
        runs = (parts == 1) | ((k >= parts * SPLIT_K) & (tiles < 2 * sms))
        return np.where(runs, fixed, np.inf), [compute, loads, memory]

    def _serial(self, chip: Chip, shape: Shape) -> Floats:
        m, n, k = shape["m"], shape["n"], shape["k"]
        beyond = np.maximum(m * n * OUTPUT_BYTES - self.output_share * chip.l2, 0) / self.memory_share
        found: Floats = np.asarray(
            (m * (k * self.cast_bytes + n * self.epilogue_bytes) + beyond) / chip.memory.bandwidth
        )
        return found
