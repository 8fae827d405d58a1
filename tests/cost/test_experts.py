"""An MoE layer's products: more experts and rows never cost less, and the measured loop of GEMMs is met."""

import csv

import numpy as np
import pytest

import kvsim
from kvsim import find
from kvsim.cost import experts
from kvsim.cost.curves.grouped import ROWS, tiles_of

CHIPS = ("h100-sxm", "h200-sxm")
LARGE = 14e6  # elements of an expert's matrix: layers of models with few experts


def both(chip: str):
    curves = find.calibrated(chip)
    return curves.curve("grouped_gemm", "bf16"), curves.curve("gemm", "bf16"), find.part(chip)


def test_tiles_are_one_for_few_rows_and_a_half_more_on_average_for_many() -> None:
    few, whole, many = tiles_of(np.array([1.0, ROWS, 40.0 * ROWS]))
    assert few == 1
    assert 1.4 <= whole <= 1.6  # half of the experts get more than the mean
    assert many == pytest.approx(40.5)


@pytest.mark.parametrize("chip", CHIPS)
def test_more_rows_and_more_experts_never_cost_less(chip: str) -> None:
    grouped, single, part = both(chip)
    shape = {"rows": np.arange(64.0, 2048, 7), "used": 8.0, "n": 7168.0, "k": 4096.0, "dtype": "bf16"}
    for found in (grouped.curve.seconds(part, shape), experts.seconds(grouped, single, part, shape)):
        assert (np.diff(found) >= -1e-12).all()
    by_experts = experts.seconds(grouped, single, part, shape | {"rows": 64.0, "used": np.arange(1.0, 64)})
    assert (np.diff(by_experts) > 0).all()


@pytest.mark.parametrize("chip", CHIPS)
def test_one_gemm_an_expert_is_what_was_measured(chip: str) -> None:
    """Nothing was fitted to these rows: torch.mm's own curve, once for each expert."""
    _, single, part = both(chip)
    errors = []
    with (find.ROOT / "hardware" / "calibration" / chip / "grouped_gemm.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["kernel"].startswith("torch.mm") and float(row["n"]) * float(row["k"]) > LARGE:
                shape = {name: float(row[name]) for name in ("rows", "used", "n", "k")} | {"dtype": "bf16"}
                errors.append(abs(experts.fused_s(single, part, shape, launches=0) / float(row["seconds"]) - 1))
    assert len(errors) >= 10
    assert np.median(errors) < 0.06 and max(errors) < 0.11


def test_an_op_names_both_kernels_and_what_bounds_it() -> None:
    shape = {"used": 8, "n": 28672, "k": 4096, "hw": "h200"}
    few, many = (kvsim.op("grouped_gemm", rows=rows, **shape) for rows in (16, 65536))
    assert "torch._grouped_mm" in few.provenance and "torch.mm" in few.provenance
    assert (few.bound, many.bound) == ("HBM bandwidth", "bf16 FLOPs")
    assert few.seconds < many.seconds
    assert "datasheet" in kvsim.op("grouped_gemm", rows=16, used=8, n=28672, k=4096, hw="l40s").provenance
