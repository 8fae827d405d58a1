"""Seconds of a GEMM on a chip whose kernels fit their tiles to the rows at hand (Hopper's warp-group products).

Beside the terms of `gemm.py` a tile has a pace of its own in k, by the latency of its loads, and a chip a rate of
products that its power limit sustains: far below the peak, and the same for all tiles that are busy enough.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvsim.cost.curves import Floats, Shape, figures
from kvsim.cost.curves.gemm import OUTPUT_BYTES, padded
from kvsim.specs.hardware import DTYPE_BYTES, Chip

# Rows x columns: the 48 tiles that cuBLAS takes most often on an H100, of those layers that no fit is held against, by
# its kernels' names (gemm_kernels.csv.gz), first those whose columns, then those whose rows are in warp groups of 64.
WIDE = (
    (8, 64), (16, 64), (24, 64), (32, 64), (40, 64), (48, 64), (64, 64), (80, 64), (96, 64), (8, 128), (16, 128),
    (24, 128), (32, 128), (40, 128), (48, 128), (64, 128), (80, 128), (96, 128), (104, 128), (128, 128), (160, 128),
    (200, 128), (8, 192), (80, 192), (128, 192), (144, 192), (176, 192), (208, 192), (8, 256), (128, 256), (144, 256),
    (152, 256), (160, 256), (128, 320), (80, 384),
)  # fmt: skip
TALL = (
    (64, 80), (128, 80), (64, 96), (128, 96), (64, 112), (128, 112), (192, 128), (256, 128), (64, 144), (128, 144),
    (128, 168), (128, 176), (192, 192),
)  # fmt: skip
TILES = (*WIDE, *TALL)
GROUP_BYTES, GROUP_SHARE = 32.0, 0.5  # see `stall`
SPLITS = (2, 3, 4, 6, 8)
FULL_CLOCK = (
    1.98 / 1.83
)  # GHz: Hopper's peaks are stated at less than the clock that its SMs keep below the power limit
FULL_SHARE = 0.86  # of their rate at that clock: of 2,500 GEMMs launched once, their launch left out, none got more
LEAST_K = 128  # that one of the CTAs of a split tile sums
NEVER = 1.0  # seconds of a k, to the fourth: of tiles that no kernel has
STEP_K = 64  # k is summed in blocks of this many
TALL_ROWS = 64  # of a warp group, that a tall tile needs: of 2,682 GEMMs of fewer rows cuBLAS gave it to 90
GROUP_ROWS = 256  # rows that share one pass over weights too large for L2: those of the tallest tile


def stall(side: Floats) -> Floats:
    """A tile's cycles over those that its products take, at least 1; `side`: the one that is not in warp groups of 64.

    A warp group's product of 64 x N x 32 bytes takes N / 2 cycles, and reads both operands from shared memory at 128
    bytes a cycle: 16 + N / 4 cycles, which is longer below N = 64.
    """
    found: Floats = np.maximum(1, GROUP_BYTES / side + GROUP_SHARE)
    return found


_ROWS, _COLUMNS = np.array(TILES, np.float64).T
_STALL = stall(np.array([rows for rows, _ in WIDE] + [columns for _, columns in TALL], np.float64))
BLOCK = 256  # shapes that are priced at once: their terms stay in a processor's cache


@dataclass(frozen=True)
class TileGemmCurve:
    """The fastest tile, and split of k where tiles fill less than half of the SMs.

    Compute, loads, HBM traffic and the latency of steps overlap the less the nearer they are to each other: the fourth
    root of the sum of their fourth powers.

    Attributes:
        launch_s: a kernel's ramp and drain.
        wave_s: filling and draining the pipelines of one wave of tiles over the SMs.
        split_s, merge_bytes_per_clock: the second pass that adds the parts of a split k, and its pace on one SM.
        product_share: of the tensor cores' rate at full clock.
        sustained_share: of the datasheet's peak under the power limit.
        step_s: of each k of a tile, by latency.
        memory_share: of HBM bandwidth, where every SM has a tile.
        idle: how much longer HBM's bytes take for SMs that have none: of their seconds, times the share of such SMs.
        load_bytes_per_clock: operands that one SM takes in.
        epilogue_bytes: HBM bytes for each output that nothing overlaps.
        cast_bytes: HBM bytes for each activation that is converted before the kernel, and waited for.
    """

    launch_s: float
    wave_s: float
    split_s: float
    merge_bytes_per_clock: float
    product_share: float
    sustained_share: float
    step_s: float
    memory_share: float
    idle: float
    load_bytes_per_clock: float
    epilogue_bytes: float
    cast_bytes: float = 0.0

    def seconds(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> Floats:
        """Seconds of [m, k] x [k, n]. Shape: m, n, k, dtype (of the weights). Nothing is taken to rest in L2."""
        if np.ndim(shape["m"]) == 1 and np.ndim(shape["n"]) == np.ndim(shape["k"]) == 0:
            rows, where = np.unique(padded(shape["m"]), return_inverse=True)  # many are alike in a table by tokens
            return self._fastest(chip, {**shape, "m": rows})[0][where] + self._serial(chip, shape)
        return self._fastest(chip, shape)[0] + self._serial(chip, shape)

    def parts(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> dict[str, Floats]:
        """Of the fastest kernel: latency, the tensor cores, loads of the SMs, HBM bandwidth."""
        _, tile, split = self._fastest(chip, shape)
        m, n, k = (np.asarray(shape[name], np.float64) for name in ("m", "n", "k"))
        m, dtype = padded(m), shape["dtype"]
        tiles, compute, loads = self.paces(chip, dtype, m, n, _ROWS[tile], _COLUMNS[tile], _STALL[tile])
        latency, waves, depth = self.waves(chip, m, n, k, tiles, split)
        memory, least = self.whole(chip, dtype, m, n, k)
        memory = memory * self.held_up(chip, tiles, split)
        return {
            "latency": latency,
            f"{dtype} FLOPs": np.maximum(waves * depth * compute, least),
            "SM loads": waves * depth * np.maximum(loads, self.step_s),
            "HBM bandwidth": memory + self._serial(chip, shape),
        }

    def _fastest(self, chip: Chip, shape: Shape) -> tuple[Floats, NDArray[np.intp], Floats]:
        """Seconds of the fastest kernel, its tile's number and how many CTAs share its k, [...] each."""
        m, n, k = figures(shape, "m", "n", "k")
        flat = [padded(m).ravel(), n.ravel(), k.ravel()]
        blocks = range(0, m.size, BLOCK)
        found = [self._block(chip, shape["dtype"], *(one[at : at + BLOCK] for one in flat)) for at in blocks]
        took, tile, split = (np.concatenate(one).reshape(m.shape) for one in zip(*found, strict=True))
        return took, tile, split

    def _block(
        self, chip: Chip, dtype: str, m: Floats, n: Floats, k: Floats
    ) -> tuple[Floats, NDArray[np.intp], Floats]:
        """`_fastest` of shapes [rows]."""
        took, tile, split = np.full(m.shape, np.inf), np.zeros(m.shape, np.intp), np.ones(m.shape)
        m, n, k = m[:, None], n[:, None], k[:, None]
        tiles, compute, loads = self.paces(chip, dtype, m, n, _ROWS, _COLUMNS, _STALL)
        pace = _fourth(compute) + _fourth(loads) + self.step_s**4
        memory, least = self.whole(chip, dtype, m, n, k)
        few = m[:, 0] < TALL_ROWS
        pace[few, len(WIDE) :] = NEVER
        every = np.arange(len(WIDE) if few.all() else len(TILES))
        least_of_row, least_of_tile = tiles.min(axis=1), tiles.min(axis=0)
        for parts in (1, *SPLITS):
            some, those = np.arange(len(m)), every
            at: Any = np.s_[:, : len(every)]
            if parts > 1:  # CTAs in one wave
                some = np.flatnonzero((least_of_row * parts <= chip.multiprocessors) & (k[:, 0] >= parts * LEAST_K))
                those = every[least_of_tile[every] * parts <= chip.multiprocessors]
                if not (len(some) and len(those)):
                    continue
                at = np.ix_(some, those)
            latency, waves, depth = self.waves(chip, m[some], n[some], k[some], tiles[at], parts)
            read = memory[some] * self.held_up(chip, tiles[at], parts)
            body = np.sqrt(np.sqrt(_fourth(waves * depth) * pace[at] + _fourth(read)))
            total = latency + np.maximum(body, least[some])
            if parts > 1:
                total[tiles[at] * parts > chip.multiprocessors] = np.inf
            which = np.argmin(total, axis=-1)
            best = total[np.arange(len(some)), which]
            faster = best < took[some]
            took[some[faster]], tile[some[faster]], split[some[faster]] = best[faster], those[which[faster]], parts
        return took, tile, split

    def paces(
        self, chip: Chip, dtype: str, m: Floats, n: Floats, rows: Floats, columns: Floats, stall: Floats
    ) -> tuple[Floats, Floats, Floats]:
        """How many tiles there are, and seconds of compute and of loads for each k of one on its SM."""
        flops_per_s = self.product_share * FULL_CLOCK * chip.peak.of(dtype) / chip.multiprocessors
        loaded = np.minimum(m, rows) + np.minimum(n, columns)
        loads = loaded * (DTYPE_BYTES[dtype] / (self.load_bytes_per_clock * chip.clock))
        return _tiles(m, n, rows, columns), 2 * rows * columns * stall / flops_per_s, loads

    def waves(
        self, chip: Chip, m: Floats, n: Floats, k: Floats, tiles: Floats, parts: Floats | int
    ) -> tuple[Floats, Floats, Floats]:
        """Latency, waves over the SMs, and what of k a CTA sums, where `parts` of them share a tile's k."""
        sms = chip.multiprocessors
        waves = np.ceil(tiles * (parts / sms))  # a CTA an SM: stages of operands fill its shared memory
        merge = self.split_s + parts * m * n * (8 / (sms * chip.clock * self.merge_bytes_per_clock))
        latency = self.launch_s + np.where(np.greater(parts, 1), merge, 0) + self.wave_s * waves
        return latency, waves, np.ceil(k / parts / STEP_K) * STEP_K

    def held_up(self, chip: Chip, tiles: Floats, parts: Floats | int) -> Floats:
        """Times as long as HBM's bytes take where a single wave of CTAs leaves SMs without one."""
        found: Floats = np.maximum(1, (1 + self.idle) - tiles * (parts * (self.idle / chip.multiprocessors)))
        return found

    def whole(self, chip: Chip, dtype: str, m: Floats, n: Floats, k: Floats) -> tuple[Floats, Floats]:
        """Seconds of HBM traffic, and of the products under the power limit, whatever the tiles."""
        width = DTYPE_BYTES[dtype]
        weights = n * k * width
        again = np.maximum(m / GROUP_ROWS - 1, 0) * np.maximum(weights - chip.l2, 0)
        moved = weights + m * k * width + m * n * OUTPUT_BYTES + again
        memory = moved / (self.memory_share * chip.memory.bandwidth)
        return memory, 2 * m * n * k / (self.sustained_share * chip.peak.of(dtype))

    def _serial(self, chip: Chip, shape: Shape) -> Floats:
        m, n, k = shape["m"], shape["n"], shape["k"]
        found: Floats = np.asarray(m * (k * self.cast_bytes + n * self.epilogue_bytes) / chip.memory.bandwidth)
        return found


def _tiles(m: Floats, n: Floats, rows: Floats | int, columns: Floats | int) -> Floats:
    found: Floats = np.ceil(m / rows) * np.ceil(n / columns)
    return found


def _fourth(value: Floats) -> Floats:
    square = value * value
    return square * square
