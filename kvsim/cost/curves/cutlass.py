"""Seconds of vLLM's CUTLASS fp8 products on sm89: the tile that its table gives for m and n, after the cast.

The table is that of csrc/quantization/w8a8/cutlass/scaled_mm_c2x_sm89_fp8_dispatch.cuh (vLLM, Apache-2.0). Kernels are
data-parallel: k is never split (scaled_mm_c2x.cuh, one batch). Shared memory lets one CTA, or two, on an SM.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kvsim.cost.curves import Floats, Shape, bodies, figures
from kvsim.specs.hardware import Chip

# Rows, columns and k of a tile; rows, columns and k of a warp's part of it; warps; CTAs that an SM holds.
KERNELS = np.array([
    (16, 64, 128, 16, 64, 64, 2, 1),
    (16, 128, 64, 16, 64, 64, 2, 2),
    (32, 64, 128, 16, 64, 64, 4, 1),
    (32, 128, 128, 32, 64, 64, 4, 1),
    (64, 64, 128, 32, 64, 64, 4, 1),
    (64, 128, 128, 64, 64, 64, 4, 1),
    (128, 128, 64, 64, 64, 64, 4, 1),
    (128, 64, 128, 64, 64, 64, 4, 1),
    (256, 128, 64, 64, 64, 64, 8, 1),
], np.float64)  # fmt: skip
MOST_ROWS = (16, 32, 64, 128, 256)  # of each line of TABLE but the last
MOST_COLUMNS = (4096, 8192, 16384)  # of each column of TABLE but the last
TABLE = np.array([
    (0, 0, 1, 2),
    (2, 2, 3, 2),
    (4, 4, 5, 4),
    (5, 5, 6, 7),
    (5, 6, 6, 6),
    (6, 8, 6, 6),
])  # fmt: skip
QUARTERS = 4  # of an SM, each with tensor cores of its own: a warp's products run on one
CAST_BYTES = 3  # of an activation: read in 16 bits, written in 8
OUTPUT_BYTES = 2


def chosen(m: Floats, n: Floats) -> NDArray[np.intp]:
    """Which of KERNELS runs."""
    found: NDArray[np.intp] = TABLE[np.searchsorted(MOST_ROWS, m), np.searchsorted(MOST_COLUMNS, n)]
    return found


@dataclass(frozen=True)
class CutlassCurve:
    """The cast of the activations, then one kernel of the table.

    Attributes:
        row_s: of the cast of one row, a CTA of its own, on an SM.
        cast_s_per_k: of the cast, for each k of a row.
        cast_l2_share: of L2, up to which activations stay there between the cast and the product.
        start_s_0 ... start_s_8: of the cast and of each of KERNELS: ramp, first blocks of k, drain.
        cta_s_0 ... cta_s_8: what an SM spends on the epilogue of a CTA of each, which nothing overlaps.
        step_cycles: of one block of k in a CTA, beside its products.
        tensor_share: of the tensor cores' peak, in one warp.
        sustained_share: of the chip's peak that its power limit sustains.
        memory_share: of HBM bandwidth.
        load_bytes_per_clock: operands that one SM takes in where all do.
        exposed: share of the shorter of compute, loads and HBM traffic that the longest does not hide.
        group_rows: rows that share one pass over weights too large for L2.
        l2_bytes_per_clock: what one SM takes in where operands rest in L2.
    """

    row_s: float
    cast_s_per_k: float
    cast_l2_share: float
    start_s_0: float
    start_s_1: float
    start_s_2: float
    start_s_3: float
    start_s_4: float
    start_s_5: float
    start_s_6: float
    start_s_7: float
    start_s_8: float
    cta_s_0: float
    cta_s_1: float
    cta_s_2: float
    cta_s_3: float
    cta_s_4: float
    cta_s_5: float
    cta_s_6: float
    cta_s_7: float
    cta_s_8: float
    step_cycles: float
    tensor_share: float
    sustained_share: float
    memory_share: float
    load_bytes_per_clock: float
    exposed: float
    group_rows: float
    l2_bytes_per_clock: float

    def seconds(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> Floats:
        """Seconds of [m, k] x [k, n] with the cast of [m, k]. Shape: m, n, k, dtype (of the weights)."""
        fixed, compute, loads, memory, least = self._work(chip, shape, hot)
        return fixed + np.maximum(bodies([compute, loads, memory], self.exposed), least)

    def parts(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> dict[str, Floats]:
        """Latency (with the cast and epilogues), FLOPs, loads of the SMs, HBM bandwidth."""
        fixed, compute, loads, memory, least = self._work(chip, shape, hot)
        values = (fixed, np.maximum(compute, least), loads, memory)
        return dict(zip(("latency", f"{shape['dtype']} FLOPs", "SM loads", "HBM bandwidth"), values, strict=True))

    def _work(self, chip: Chip, shape: Shape, hot: Floats | float) -> tuple[Floats, Floats, Floats, Floats, Floats]:
        """Latencies, compute, loads, HBM traffic, and what the power limit allows at best."""
        m, n, k = figures(shape, "m", "n", "k")
        sms, peak = chip.multiprocessors, chip.peak.of(shape["dtype"])
        which = chosen(m, n)
        rows, columns, depth, warp_rows, warp_columns, warp_k, warps, resident = np.moveaxis(KERNELS[which], -1, 0)
        tiles = np.ceil(m / rows), np.ceil(n / columns)
        ctas, steps = tiles[0] * tiles[1], np.ceil(k / depth)
        products = warp_rows * warp_columns * warp_k * np.ceil(warps / QUARTERS)
        step_s = self.step_cycles / chip.clock + 2 * products * QUARTERS * sms / (self.tensor_share * peak)
        compute = np.ceil(ctas / (sms * resident)) * steps * step_s
        loaded = ctas * steps * depth * (np.minimum(m, rows) + np.minimum(n, columns))
        loads = loaded / (self.load_bytes_per_clock * chip.clock * sms)
        weights = n * k
        again = np.maximum(m / self.group_rows - 1, 0) * np.maximum(weights - chip.l2, 0)
        moved = weights + m * k + m * n * OUTPUT_BYTES + again
        l2_bytes_per_s = self.l2_bytes_per_clock * chip.clock * sms
        bytes_per_s = self.memory_share * chip.memory.bandwidth
        memory = moved * (1 - hot) / bytes_per_s + moved * hot / l2_bytes_per_s
        least = 2 * (tiles[0] * rows) * (tiles[1] * columns) * k / (self.sustained_share * peak)
        cast = m * k * CAST_BYTES
        beyond = np.maximum(cast - self.cast_l2_share * chip.l2, 0)
        crossed = (cast - beyond) / l2_bytes_per_s + beyond / bytes_per_s
        cast_s = k * self.cast_s_per_k + np.maximum(m * self.row_s / sms, crossed)
        fixed = self._starts()[which] + self._epilogues()[which] * ctas / sms + cast_s
        return fixed, compute, loads, memory, least

    def _starts(self) -> Floats:
        return np.array([getattr(self, f"start_s_{at}") for at in range(len(KERNELS))])

    def _epilogues(self) -> Floats:
        return np.array([getattr(self, f"cta_s_{at}") for at in range(len(KERNELS))])
