"""Curves that follow a library's rules: vLLM's table of CUTLASS tiles, FlashInfer's planner, residuals on top."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvsim import find
from kvsim.cost.curves import cutlass, flashinfer
from kvsim.cost.curves.switches import SwitchedCurve, classes, factors
from kvsim.specs.hardware import Chip

L40S = find.part("l40s")
assert isinstance(L40S, Chip)


def power(n: int) -> int:
    """The next power of two, as the kernels' tables are keyed."""
    return 1 << (n - 1).bit_length()


def reference_tile(m: int, n: int) -> tuple[int, int]:
    """Rows and columns by vLLM's dispatch for sm89, in plain branches."""
    rows, columns = max(16, power(m)), power(n)
    if rows <= 16:
        return (16, 64) if columns <= 8192 else (16, 128) if columns <= 16384 else (32, 64)
    if rows <= 32:
        return (32, 128) if 8192 < columns <= 16384 else (32, 64)
    if rows <= 64:
        return (64, 128) if 8192 < columns <= 16384 else (64, 64)
    if rows <= 128:
        return (64, 128) if columns <= 8192 else (128, 128) if columns <= 16384 else (128, 64)
    if rows <= 256:
        return (64, 128) if columns <= 4096 else (128, 128)
    return (256, 128) if 4096 < columns <= 8192 else (128, 128)


@given(st.integers(1, 40_000), st.integers(1, 140_000))
def test_tiles_are_those_of_the_dispatch(m: int, n: int) -> None:
    rows, columns, *_ = cutlass.KERNELS[cutlass.chosen(np.float64(m), np.float64(n))]
    assert (rows, columns) == reference_tile(m, n)


def test_tiles_fit_the_shared_memory_of_an_sm() -> None:
    """Warps fill their tile: k is shared by the warps that rows and columns leave."""
    for rows, columns, depth, warp_rows, warp_columns, warp_k, warps, _ in cutlass.KERNELS:
        assert warps == rows / warp_rows * columns / warp_columns * depth / warp_k


def fp8(**shape: Any) -> Any:
    one = next(one for one in find.calibrated("l40s").calibration.curves if one.form == "cutlass_gemm")
    return one.curve.seconds(L40S, {**shape, "dtype": "fp8"})


def test_a_row_more_takes_another_kernel() -> None:
    """Measured, k = 65,536 and 32 columns: 138 us at 64 rows, 247 at 65, 259 at 256, 473 at 257."""
    took = [float(fp8(m=m, n=32, k=65536)) for m in (64, 65, 256, 257)]
    assert took[0] < took[1] < 1.1 * took[2] < took[3]
    assert float(fp8(m=65, n=32, k=64)) < float(fp8(m=64, n=32, k=64))  # 6.0 us against 7.7 measured


@pytest.mark.parametrize(
    ("new", "group", "rows"), [(1, 1, 16), (1, 16, 16), (1, 32, 64), (4, 16, 64), (16, 8, 128), (65, 1, 128)]
)
def test_rows_of_a_tile_hold_a_groups_queries(new: int, group: int, rows: int) -> None:
    assert flashinfer.tile_rows(np.float64(new * group)) == rows


def reference_chunks(tiles: int, context: int, slots: int, kv_heads: int) -> int:
    """FlashInfer's binary search over the size of a chunk, as a linear one."""
    most, pages = slots // kv_heads, -(-context // flashinfer.PAGE)
    size = flashinfer.LEAST_PAGES
    while size < pages and tiles * -(-pages // size) > most:
        size += 1
    return -(-pages // size)


@given(st.integers(1, 400), st.integers(1, 200_000), st.sampled_from([216, 284]), st.sampled_from([1, 2, 4, 8, 32]))
def test_chunks_are_those_of_the_planner(tiles: int, context: int, slots: int, kv_heads: int) -> None:
    found = flashinfer.chunks(np.float64(tiles), np.float64(context), slots, np.float64(kv_heads))
    assert found == reference_chunks(tiles, context, slots, kv_heads)


class _Linear:
    """A curve of one second a row, and one more from HBM."""

    def seconds(self, chip: Chip, shape: Any, hot: Any = 0.0) -> Any:
        return np.asarray(shape["m"], np.float64) * 1.0 + (1 - np.asarray(hot))

    def parts(self, chip: Chip, shape: Any, hot: Any = 0.0) -> dict[str, Any]:
        return {
            "latency": np.asarray(shape["m"], np.float64) * 1.0,
            "HBM bandwidth": 1 - np.asarray(hot) + 0 * shape["m"],
        }


BOUNDS = ((4.0,), (10.0,), (10.0,))


def test_a_table_of_residuals_gives_back_what_was_measured() -> None:
    m = np.array([1.0, 2, 3, 4, 5, 6, 7, 8] * 100)
    shape = {"m": m, "n": np.full(m.size, 5.0), "k": np.full(m.size, 20.0)}
    table = factors(BOUNDS, shape, np.where(m <= 4, 1.5, 1.02))
    assert table[0][0][1] == 1.49  # 400 rows, and 5 that doubt it
    assert table[1][0][1] == 1  # 2 % are no switch
    assert table[0][1][1] == 1  # never measured
    table[0][0][1] = 1.5
    curve = SwitchedCurve(_Linear(), BOUNDS, table)
    assert curve.seconds(L40S, shape, 1.0)[:8].tolist() == [1.5, 3, 4.5, 6, 5, 6, 7, 8]
    assert float(curve.seconds(L40S, {"m": 1, "n": 5, "k": 20})) == 2.0  # HBM's second hides half a second more
    assert float(curve.seconds(L40S, {"m": 4, "n": 5, "k": 20})) == 6.0


def test_a_faster_kernel_saves_no_traffic() -> None:
    curve = SwitchedCurve(_Linear(), BOUNDS, [[[0.5, 0.5], [0.5, 0.5]], [[1.0, 1.0], [1.0, 1.0]]])
    assert float(curve.seconds(L40S, {"m": 4, "n": 5, "k": 20})) == 3.0
    assert float(curve.seconds(L40S, {"m": 5, "n": 5, "k": 20})) == 6.0
    assert classes(BOUNDS, {"m": 5, "n": 11, "k": 1}) == (1, 1, 0)
