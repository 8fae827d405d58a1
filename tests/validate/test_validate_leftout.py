"""What kvsim says of prices without measurements is true of measured chips that are left out."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from kvsim.cli.validate import validate_command
from kvsim.cost.calibration import BORROWED_ERROR, BORROWED_ERRORS, borrowed_error
from kvsim.cost.source import DATASHEET_ERROR, MARGINS
from kvsim.validate.leftout import DATASHEET, OF_H100S, Lent, committed, lent, relatives
from kvsim.validate.published import folder
from kvsim.validate.table import render

needs_tables = pytest.mark.skipif(folder() is None, reason="no published measurements: set KVSIM_SHARED")
CHIPS = ["a100-sxm-80gb", "h100-sxm", "h200-sxm", "l40s", "rtx-4090"]


@pytest.mark.parametrize("one", [one for one in committed() if one.margin], ids=lambda one: f"{one.name}-{one.op}")
def test_every_margin_holds_in_the_median(one: Lent) -> None:
    assert one.holds
    assert one.residuals.rows > 15
    if one.lender == DATASHEET:
        assert one.margin == MARGINS[one.op]
    else:
        assert one.margin == borrowed_error(one.op)
        assert one.lender in relatives(one.name) or one.lender == OF_H100S


def test_every_measured_chip_is_left_out_in_every_class() -> None:
    found = {(one.name, one.op) for one in committed() if one.lender == DATASHEET}
    classes = ("gemm", "attention_decode", "attention_prefill")
    assert {(chip, op) for chip in CHIPS for op in classes} <= found
    assert {op for _, op in found} == set(MARGINS)


def test_margins_are_no_wider_than_what_was_shown() -> None:
    for op, margin in MARGINS.items():
        worst = max(one.residuals.median for one in committed() if (one.lender, one.op) == (DATASHEET, op))
        assert margin == DATASHEET_ERROR or worst > margin - 0.05, op
    for op, margin in BORROWED_ERRORS.items():
        worst = max(one.residuals.median for one in committed()
                    if one.op == op and one.lender in relatives(one.name))  # fmt: skip
        assert BORROWED_ERROR < worst <= margin < worst + 0.05


def test_relatives_share_a_die() -> None:
    assert relatives("h100-sxm") == {"h200-sxm"}
    assert relatives("h200-sxm") == {"h100-sxm"}
    assert relatives("a100-sxm-40gb") == {"a100-sxm-80gb"}
    assert relatives("l40s") == relatives("rtx-4090") == set()


def test_other_generations_are_worse_than_what_is_said_of_relatives() -> None:
    """Why curves do not cross generations."""
    strangers = [one for one in committed() if one.margin is None]
    assert len(strangers) > 40
    assert all(one.residuals.median > BORROWED_ERROR for one in strangers)


@pytest.mark.parametrize("name", ["h100-sxm", "h200-sxm"])
def test_our_own_tables_give_what_is_committed(name: str) -> None:
    _as_committed(name)


@needs_tables
@pytest.mark.parametrize("name", ["a100-sxm-80gb", "l40s", "rtx-4090", "nvlink3", "nvlink4", "pcie5-x16"])
def test_published_tables_give_what_is_committed(name: str) -> None:
    _as_committed(name)


def _as_committed(name: str) -> None:
    known = {(one.name, one.op, one.dtype, one.kernel, one.lender): one.residuals for one in committed()}
    found = lent(name)
    assert found and all(one.recomputed for one in found)
    assert {one.lender for one in found} >= {DATASHEET}
    for one in found:
        left = known[one.name, one.op, one.dtype, one.kernel, one.lender]
        assert (one.residuals.rows, one.residuals.worst_shape) == (left.rows, left.worst_shape)
        assert one.residuals.median == pytest.approx(left.median, abs=2e-4)
    assert len(found) == sum(key[0] == name for key in known)


def test_without_the_tables_what_is_committed_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KVSIM_SHARED", raising=False)
    found = lent("l40s")
    assert found == [one for one in committed() if one.name == "l40s"]
    assert not any(one.recomputed for one in found)


def test_one_command_says_pass_or_fail() -> None:
    def said(*words: str) -> str:
        return CliRunner().invoke(validate_command, ["--hw", "h200", "--borrow", *words]).output

    table, shown = said(), json.loads(said("--json"))["not_measured"]
    assert "by datasheet, 25 % said: holds" in table and "by h100-sxm, 8 % said: holds" in table
    assert "FAILS" not in table
    told = [one for one in shown if one["margin"] is not None]
    assert f"margins in the median: {len(told)} of {len(told)} hold" in table
    assert all(one["holds"] and one["median"] <= one["margin"] for one in told)


def test_a_margin_that_is_not_true_is_told() -> None:
    one = next(one for one in committed() if one.margin)
    wrong = replace(one, margin=one.residuals.median / 2)
    assert not wrong.holds
    lines = render([], [], {}, [one, wrong])
    assert "FAILS" in lines and f"1 of 2 hold; not {one.name} {one.op} {one.dtype} by {one.lender}" in lines
