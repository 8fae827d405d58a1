"""Seconds of a GEMM on a chip whose kernels fit their tiles to the rows at hand (Hopper's warp-group products).

Beside the terms of `gemm.py` a tile has a pace of its own in k, by the latency of its loads, and a chip a rate of
products that its power limit sustains: far below the peak, and the same for all tiles that are busy enough.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kvsim.cost.curves import Floats, Shape, bodies
from kvsim.cost.curves.gemm import OUTPUT_BYTES, padded
from kvsim.specs.hardware import DTYPE_BYTES, Chip

LARGEST = 128 * 256  # outputs of a tile of full efficiency
MOST_OUTPUTS = 320 * 128  # of a tile, which fill an SM's registers
TILES = tuple(  # among those that cuBLAS takes on an H200, by its kernels' names (gemm_kernels.csv)
    (rows, columns)
    for rows in (16, 32, 64, 96, 128, 160, 192, 208, 256, 320)
    for columns in (64, 128, 192, 256)
    if rows * columns <= MOST_OUTPUTS
)
SPLITS = (2, 3, 4, 6, 8)
FULL_CLOCK = (
    1.98 / 1.83
)  # GHz: Hopper's peaks are stated at less than the clock that its SMs keep below the power limit
LEAST_K = 128  # that one of the CTAs of a split tile sums
STEP_K = 64  # k is summed in blocks of this many
GROUP_ROWS = 256  # rows that share one pass over weights too large for L2: those of the tallest tile


@dataclass(frozen=True)
class TileGemmCurve:
    """The fastest tile, and split of k where tiles fill less than half of the SMs.

    Attributes:
        launch_s: a kernel's ramp and drain.
        wave_s: filling and draining the pipelines of one wave of tiles over the SMs.
        split_s, merge_bytes_per_clock: the second pass that adds the parts of a split k, and its pace on one SM.
        tensor_share: of the tensor cores' rate at full clock, for the largest tile.
        sustained_share: of the datasheet's peak under the power limit.
        edge_rows: a tile's operands cost as much as this many rows and columns more of it.
        step_s: of each k of a tile, by latency.
        memory_share: of HBM bandwidth.
        load_bytes_per_clock: operands that one SM takes in.
        exposed: share of the shorter of compute, loads and HBM traffic that the longest does not hide.
        epilogue_bytes: HBM bytes for each output that nothing overlaps.
        cast_bytes: HBM bytes for each activation that is converted before the kernel, and waited for.
    """

    launch_s: float
    wave_s: float
    split_s: float
    merge_bytes_per_clock: float
    tensor_share: float
    sustained_share: float
    edge_rows: float
    step_s: float
    memory_share: float
    load_bytes_per_clock: float
    exposed: float
    epilogue_bytes: float
    cast_bytes: float = 0.0

    def seconds(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> Floats:
        """Seconds of [m, k] x [k, n]. Shape: m, n, k, dtype (of the weights). Nothing is taken to rest in L2."""
        if np.ndim(shape["m"]) == 1 and np.ndim(shape["n"]) == np.ndim(shape["k"]) == 0:
            rows, where = np.unique(padded(shape["m"]), return_inverse=True)  # many are alike in a table by tokens
            return self._fastest(chip, {**shape, "m": rows})[where] + self._serial(chip, shape)
        return self._fastest(chip, shape) + self._serial(chip, shape)

    def parts(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> dict[str, Floats]:
        """Of the fastest kernel: latency, the tensor cores, loads of the SMs, HBM bandwidth."""
        fixed, compute, loads, memory, least = self._best(chip, shape)
        names = ("latency", f"{shape['dtype']} FLOPs", "SM loads", "HBM bandwidth")
        values = (fixed, np.maximum(compute, least), loads, memory + self._serial(chip, shape))
        return dict(zip(names, values, strict=True))

    def _fastest(self, chip: Chip, shape: Shape) -> Floats:
        return self._total(self._best(chip, shape))

    def _best(self, chip: Chip, shape: Shape) -> list[Floats]:
        """The terms of the fastest kernel, seconds [...]."""
        best = self._of_tile(self._terms(chip, shape, 1))
        some = np.asarray(np.broadcast_to(self._few(chip, shape), best[0].shape))
        if some.any():
            few = {name: np.broadcast_to(shape[name], some.shape)[some] for name in ("m", "n", "k")}
            kept = [one[some] for one in best]
            for parts in SPLITS:
                split = self._of_tile(self._terms(chip, {**shape, **few}, parts))
                faster = self._total(split) < self._total(kept)
                kept = [np.where(faster, new, old) for new, old in zip(split, kept, strict=True)]
            for one, new in zip(best, kept, strict=True):
                one[some] = new
        return best

    def _of_tile(self, terms: list[Floats]) -> list[Floats]:
        """Terms [..., tiles] of the tile whose total is least."""
        total = self._total(terms)
        which = np.argmin(total, axis=-1, keepdims=True)
        return [np.take_along_axis(np.broadcast_to(one, total.shape), which, -1)[..., 0] for one in terms]

    def _few(self, chip: Chip, shape: Shape) -> NDArray[np.bool_]:
        """Where the largest tiles fill less than half of the SMs."""
        m, n = np.asarray(shape["m"]), np.asarray(shape["n"])
        return np.minimum(_tiles(m, n, 256, 128), _tiles(m, n, 128, 256)) < chip.multiprocessors / 2

    def _total(self, terms: list[Floats]) -> Floats:
        fixed, compute, loads, memory, least = terms
        return fixed + np.maximum(bodies([compute, loads, memory], self.exposed), least)

    def _terms(self, chip: Chip, shape: Shape, parts: int) -> list[Floats]:
        """[latency, compute, loads, HBM traffic, least time] of every tile, seconds [..., tiles]; inf if it cannot run.

        `parts`: CTAs that share a tile's k.
        """
        m, n, k = (np.asarray(shape[name], np.float64)[..., None] for name in ("m", "n", "k"))
        m = padded(m)
        rows, columns = np.array(TILES, np.float64).T
        width, sms, area = DTYPE_BYTES[shape["dtype"]], chip.multiprocessors, rows * columns
        tiles = _tiles(m, n, rows, columns)
        waves = np.ceil(tiles * parts / sms)
        depth = waves * (np.ceil(k / parts / STEP_K) * STEP_K)  # of k that one SM sums, tile after tile
        peak = chip.peak.of(shape["dtype"])
        largest = 1 + self.edge_rows * (128 + 256) / LARGEST
        flops_per_s = self.tensor_share * FULL_CLOCK * peak / (sms * largest)
        per_k = 2 * (area + self.edge_rows * (rows + columns)) / flops_per_s
        loaded = np.minimum(m, rows) + np.minimum(n, columns)
        loads = depth * loaded * (width / (self.load_bytes_per_clock * chip.clock))
        weights = n * k * width
        again = np.maximum(m / GROUP_ROWS - 1, 0) * np.maximum(weights - chip.l2, 0)
        moved = weights + m * k * width + m * n * OUTPUT_BYTES + again
        memory = moved / (self.memory_share * chip.memory.bandwidth)
        resident = np.maximum(1, LARGEST / area)
        fixed = self.launch_s + self.wave_s * np.ceil(tiles * parts / (sms * resident))
        if parts > 1:
            merged = parts * m * n * (8 / (sms * chip.clock * self.merge_bytes_per_clock))
            runs = (k >= parts * LEAST_K) & (tiles < sms / 2)
            fixed = np.where(runs, fixed + self.split_s + merged, np.inf)
        least = np.maximum(2 * m * n * k / (self.sustained_share * peak), depth * self.step_s)
        return [fixed, depth * per_k, loads, memory, least]

    def _serial(self, chip: Chip, shape: Shape) -> Floats:
        m, n, k = shape["m"], shape["n"], shape["k"]
        found: Floats = np.asarray(m * (k * self.cast_bytes + n * self.epilogue_bytes) / chip.memory.bandwidth)
        return found


def _tiles(m: Floats, n: Floats, rows: Floats | int, columns: Floats | int) -> Floats:
    found: Floats = np.ceil(m / rows) * np.ceil(n / columns)
    return found
