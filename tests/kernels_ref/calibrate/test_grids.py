"""The grids: rows are told apart, hold what held-out tests need, and every beginning of them is spread."""

from importlib import import_module

import pytest
import torch
from rigs import rig

from kernels_ref.calibrate import gemm
from kernels_ref.calibrate.driver import CLASSES
from kernels_ref.calibrate.point import Unable, spread

SINGLE = [name for name in CLASSES if name != "collectives"]


def module(name: str):
    return import_module(f"kernels_ref.calibrate.{name}")


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("fine", [False, True])
def test_rows_are_named_by_their_columns_and_told_apart(name: str, fine: bool) -> None:
    found = module(name).points(rig(), fine)
    assert all(tuple(point.cells) == module(name).COLUMNS for point in found)
    assert len({point.key for point in found}) == len(found) > 10
    assert all((point.build is None) != (point.measure is None) for point in found)


def test_one_gpu_has_no_collectives() -> None:
    if torch.cuda.device_count() < 2:
        with pytest.raises(Unable, match="two GPUs"):
            module("collectives").points(rig(), False)


def test_default_grid_takes_four_minutes() -> None:
    assert sum(module(name).BUDGET_S for name in SINGLE) <= 240


def test_an_old_chip_measures_no_fp8() -> None:
    old = rig()
    object.__setattr__(old, "capability", (8, 0))
    for name in ("gemm", "attention_decode", "power"):
        assert {point.cells["dtype"] for point in module(name).points(old, False)}.isdisjoint({"fp8"})


def test_every_beginning_covers_the_layers() -> None:
    first = spread(gemm.points(rig(), False))[:250]
    assert len({(point.cells["n"], point.cells["k"]) for point in first}) >= 45
    assert len({point.cells["m"] for point in first}) == len(gemm.ROWS)
    assert spread(range(100)) == spread(range(100)) != list(range(100))


def test_gemms_hold_rows_at_the_ridge_and_between_tiles() -> None:
    rows = {point.cells["m"] for point in gemm.points(rig(), False)}
    assert {1, 16, 128, 160, 192, 256, 257, 320, 400, 1000, 16384} <= rows
