"""Committed residuals are those that the committed parameters give on the published measurements."""

import numpy as np
import pytest

from kvsim.validate.compare import Comparison, comparisons, names
from kvsim.validate.leftout import OF_H100S, lent
from kvsim.validate.published import folder
from kvsim.validate.wholesteps import whole_steps

SHARED = folder()
needs_tables = pytest.mark.skipif(SHARED is None, reason="no published measurements: set KVSIM_SHARED")


@pytest.fixture(scope="module")
def compared() -> list[Comparison]:
    return comparisons()


@needs_tables
def test_residuals_are_those_committed(compared: list[Comparison]) -> None:
    assert len(compared) == 68
    for one in compared:
        assert one.rows is not None, one.name
        for found, committed in (
            (one.residuals, one.fitted.held_out),
            (one.residuals_512, one.fitted.held_out_512),
        ):
            if committed is None:
                assert found is None
                continue
            assert found is not None
            assert (found.rows, found.worst_shape) == (committed.rows, committed.worst_shape)
            figures = (found.median, found.p90, found.worst)
            assert figures == pytest.approx((committed.median, committed.p90, committed.worst), abs=2e-4)


@needs_tables
def test_whole_groups_are_held_out(compared: list[Comparison]) -> None:
    for one in compared:
        assert one.rows is not None
        assert one.rows.held.all()
        assert len(one.rows) > 5
        assert np.isfinite(one.predicted_s).all() and (one.predicted_s > 0).all()  # type: ignore[arg-type,operator]


@needs_tables
def test_another_generation_is_off_by_more_than_a_relative() -> None:
    """Why a chip is not priced by another generation's curves: medians of 10 to 40 %."""
    found = [one for one in lent("a100-sxm-80gb") if one.lender == "l40s"]
    assert len(found) == 3
    assert all(0.08 < one.residuals.median < 0.4 for one in found)


def test_curves_between_h100s_price_all_reduces_between_h200s() -> None:
    """And vLLM's attention on an H200 by the H100's: what a curve of one Hopper machine says of another."""
    link = [one for one in lent("nvlink4") if one.lender == OF_H100S]
    assert len(link) == 2
    assert all(one.residuals.median < 0.04 and one.residuals.p90 < 0.09 for one in link)
    theirs = {
        one.op: one.residuals
        for one in lent("h200-sxm")
        if one.kernel.endswith("of vLLM 0.24") and one.lender == "h100-sxm"
    }
    assert theirs["attention_decode"].median < 0.05 and theirs["attention_decode"].p90 < 0.14
    assert theirs["attention_prefill"].median < 0.07 and theirs["attention_prefill"].p90 < 0.21


def test_names_of_a_machine_are_its_chip_and_links() -> None:
    assert names("a100-40") == ["a100-sxm-80gb", "nvlink3"]
    assert names("h100") == ["h100-sxm", "pcie5-x16", "nvlink4"]


@needs_tables
def test_whole_steps_are_near_the_sum_of_measured_kernels() -> None:
    """Llama-3.1-8B on an RTX 4090: decode 2 %, mixed 3 %, prefill 3 % in the median, far below datasheet rates."""
    found = whole_steps()
    assert len(found) == 6
    for kind, median, p90 in (("decode", 0.03, 0.07), ("mixed", 0.04, 0.15), ("prefill", 0.04, 0.14)):
        assert found[kind, "curves"].median < median
        assert found[kind, "curves"].p90 < p90
        assert 2 * found[kind, "curves"].median < found[kind, "datasheet"].median
