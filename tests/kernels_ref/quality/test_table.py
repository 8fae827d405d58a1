"""The file of results survives being killed, and shards come together."""

import pytest

from kernels_ref.quality import table
from kernels_ref.quality.row import Row, cells, of_cells

WHERE = {name: name for name in table.ORIGIN}


def row(policy: str, budget: float | None = 0.25, text: str = "docs") -> Row:
    return Row(
        policy, budget, f"{policy}:keep=0.5", text, "0" * 8, "stored", True, 0.25, 0.25, 384.0, 0.1, notes=("a, b",)
    )


def test_a_row_comes_back_from_its_cells():
    one = row("snapkv")
    assert of_cells(dict(zip(table.COLUMNS, cells(one), strict=True))) == one


def test_a_line_that_was_cut_off_is_measured_again(tmp_path):
    path = tmp_path / "quality.csv"
    first = table.Table(path)
    first.add(row("snapkv"), WHERE)
    first.add(row("kivi", None), WHERE)
    path.write_bytes(path.read_bytes()[:-20])
    again = table.Table(path)
    assert again.done == {("snapkv", "0.25", "docs")}
    again.add(row("kivi", None), WHERE)
    assert [one.policy for one in table.read(path)] == ["snapkv", "kivi"]


def test_rows_of_other_shards_count_and_are_gathered_in_order(tmp_path):
    out, paths = tmp_path / "quality.csv", [tmp_path / f"quality.{i}-of-2.csv" for i in (1, 2)]
    table.Table(paths[0]).add(row("tova", 0.1), WHERE)
    second = table.Table(paths[1], [paths[0]])
    assert ("tova", "0.1", "docs") in second.done
    for budget in (0.1, 0.5, None):
        second.add(row("snapkv", budget), WHERE)
    assert table.gather(paths, out) == 4
    assert [(one.policy, one.budget) for one in table.read(out)] == [
        *(("snapkv", budget) for budget in (None, 0.5, 0.1)),
        ("tova", 0.1),
    ]


def test_another_version_s_columns_are_refused(tmp_path):
    path = tmp_path / "old.csv"
    path.write_text("policy,error\nsnapkv,0.1\n")
    with pytest.raises(ValueError, match="other columns"):
        table.Table(path)
