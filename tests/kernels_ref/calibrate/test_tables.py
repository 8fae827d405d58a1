"""Tables and the driver: rows are kept, an interrupted run goes on, what cannot be measured is said."""

import csv
from pathlib import Path
from types import SimpleNamespace

import pytest
from rigs import rig

from kernels_ref.calibrate import driver
from kernels_ref.calibrate.point import Measured, Point, Unable, Work
from kernels_ref.calibrate.table import Table

ORIGIN = dict.fromkeys(("device", "host", "driver", "torch", "triton", "version", "command"), "x")


def point(n: int, launched: list[int] | None = None) -> Point:
    def build(rig):
        return Work(lambda i: launched.append(n) if launched is not None else None, 2, extra={"bytes": 8 * n})

    return Point({"n": n, "kernel": "k"}, build)


def of_class(points: list[Point], budget_s: float = 60.0) -> SimpleNamespace:
    return SimpleNamespace(
        __name__="kernels_ref.calibrate.some",
        COLUMNS=("n", "kernel"),
        BUDGET_S=budget_s,
        points=lambda rig, fine: points,
    )


def table(path: Path, **origin: str) -> Table:
    return Table(path / "some.csv", ("n", "kernel"), ("bytes",), ORIGIN | origin)


def rows(path: Path) -> list[dict[str, str]]:
    with (path / "some.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_row_has_shape_figures_and_origin(tmp_path: Path) -> None:
    driver.run_class(rig(), of_class([point(3)]), table(tmp_path), 60, False)
    (row,) = rows(tmp_path)
    assert row == {"n": "3", "kernel": "k", "seconds": "0.003", "noise": "0.01", "clock_mhz": "1980", "power_w": "500",
                   "bytes": "24"} | ORIGIN  # fmt: skip


def test_rows_that_are_there_are_not_measured_again(tmp_path: Path) -> None:
    launched: list[int] = []
    driver.run_class(rig(), of_class([point(1, launched)]), table(tmp_path), 60, False)
    with (tmp_path / "some.csv").open("a") as file:
        file.write("2,k,0.1")  # a row that was cut off
    driver.run_class(rig(), of_class([point(1, launched), point(2, launched)]), table(tmp_path), 60, False)
    assert [row["n"] for row in rows(tmp_path)] == ["1", "2"]
    assert launched == [1, 1, 2, 2]


def test_another_chip_or_class_needs_another_folder(tmp_path: Path) -> None:
    driver.run_class(rig(), of_class([point(1)]), table(tmp_path), 60, False)
    with pytest.raises(ValueError, match="was measured on x; give another --out"):
        table(tmp_path, device="y")
    with pytest.raises(ValueError, match="other columns"):
        Table(tmp_path / "some.csv", ("n",), (), ORIGIN)


def test_what_cannot_be_measured_is_said_and_costs_no_other_row(tmp_path: Path) -> None:
    def unable(rig):
        raise Unable("has no such unit")

    def broken(rig):
        raise RuntimeError("CUDA error\nand much more")

    points = [Point({"n": 7, "kernel": "k"}, unable), Point({"n": 8, "kernel": "k"}, broken), point(9)]
    said = driver.run_class(rig(), of_class(points), table(tmp_path), 60, False)
    assert [row["n"] for row in rows(tmp_path)] == ["9"]
    assert sorted(said) == [
        "some: 1 not measured: has no such unit",
        "some: 1 not measured: k RuntimeError: CUDA error",
    ]


def test_a_class_stops_when_its_time_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(driver.time, "perf_counter", lambda: float(next(clock)))
    said = driver.run_class(rig(), of_class([point(n) for n in range(20)]), table(tmp_path), 5.0, False)
    assert len(rows(tmp_path)) == 5
    assert said == ["some: 15 points left when its 5 s were over"]


def test_measured_by_the_point_itself(tmp_path: Path) -> None:
    own = Point({"n": 1, "kernel": "k"}, measure=lambda rig: Measured(0.5, 0.0))
    driver.run_class(rig(), of_class([own]), table(tmp_path), 60, False)
    assert rows(tmp_path)[0]["seconds"] == "0.5"
