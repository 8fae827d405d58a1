"""Batches of unlike lengths, tiles of unlike lengths, and sums of scores: what was found in the measurements holds."""

import numpy as np
import pytest

import kvsim
from kvsim import find
from kvsim.cost.curves.pairs import ROWS
from kvsim.errors import UserError
from kvsim.validate.published import read
from kvsim.validate.residuals import predicted

SHAPE = {"batch": 64, "context": 1300, "heads": 32, "kv_heads": 8, "head_dim": 128}


def of(chip: str, op: str):
    found = find.calibrated(chip).curve(op, "bf16")
    assert found
    return found


def test_one_long_row_among_many_sets_the_pace() -> None:
    alike, one_long = (
        float(kvsim.op("attention_decode", hw="h200", longest=longest, **SHAPE).seconds) for longest in (1300, 65536)
    )
    assert one_long > 5 * alike
    measured = next(seconds for name, seconds in named("h200-sxm") if name == (64, 81664, 65536, 8))
    assert one_long == pytest.approx(measured, rel=0.1)


def named(chip: str):
    one = of(chip, "ragged_decode")
    rows = read(chip, one.op, one.dtype, one.tables, one.where)
    assert rows
    keys = zip(*(rows.shape[name].astype(int) for name in ("batch", "tokens", "longest", "kv_heads")), strict=True)
    return zip(keys, rows.seconds, strict=True)


def test_a_sum_over_the_batch_misses_what_the_longest_row_costs() -> None:
    """Rows held out: the curve is within a quarter everywhere, the mean context is not within half."""
    one, part = of("h200-sxm", "ragged_decode"), find.part("h200-sxm")
    rows = read("h200-sxm", one.op, one.dtype, one.tables, one.where)
    assert rows
    unlike = rows.where(rows.held & (rows.shape["longest"] > 4 * rows.shape["tokens"] / rows.shape["batch"]))
    assert len(unlike) > 10
    error = predicted(one.curve, part, unlike, None) / unlike.seconds - 1
    assert np.abs(error).max() < 0.25
    mean = {**unlike.keyed, "context": unlike.shape["tokens"] / unlike.shape["batch"]}
    by_mean = of("h200-sxm", "attention_decode").curve.seconds(part, mean) / unlike.seconds - 1
    assert np.median(by_mean) < -0.5


def test_longest_is_at_least_the_mean_and_needs_a_chip_that_was_measured() -> None:
    with pytest.raises(UserError, match="longest must be at least context"):
        kvsim.op("attention_decode", hw="h200", longest=100, **SHAPE)
    with pytest.raises(UserError, match="longest was not measured on NVIDIA L40S"):
        kvsim.op("attention_decode", hw="l40s", longest=2000, **SHAPE)


def test_a_relative_lends_what_was_measured_on_it_alone_and_says_so() -> None:
    own, lent = (kvsim.op("attention_decode", hw=hw, longest=14000, **SHAPE) for hw in ("h200", "h100"))
    assert own.provenance.startswith("curve of kernels_ref decode")
    assert lent.provenance.startswith("borrowed from h200-sxm")
    assert lent.expected_error > own.expected_error
    assert float(lent.seconds) >= float(own.seconds)


def seconds(new: int, batch: int = 1, past: int = 0, heads: int = 32) -> float:
    shape = {"batch": batch, "new": new, "past": past, "heads": heads, "kv_heads": 8, "head_dim": 128}
    return float(kvsim.op("attention_prefill", hw="h100", **shape).seconds)


def test_tiles_of_one_length_run_in_whole_rounds_of_pairs() -> None:
    """132 SMs: 132 CTAs run alone, 264 in pairs, and one pair more costs another round."""
    alone, paired, two_rounds = (seconds(ROWS, past=16384, heads=heads) for heads in (128, 264, 272))
    assert 1.5 * alone < paired < 1.8 * alone  # two tiles on an SM take less than twice as long
    assert two_rounds == pytest.approx(2 * paired, rel=0.1)


@pytest.mark.parametrize("chip", ["h100-sxm", "h200-sxm"])
def test_decodes_beside_a_chunk_as_two_launches_are_the_sum_of_both_curves(chip: str) -> None:
    """Nothing was fitted to mixed.csv."""
    pd = pytest.importorskip("pandas")
    frame, part = pd.read_csv(find.ROOT / f"hardware/calibration/{chip}/mixed.csv"), find.part(chip)
    column = {name: frame[name].to_numpy(float) for name in ("batch", "context", "new", "past", "heads", "kv_heads")}
    column |= {"head_dim": 128.0, "dtype": "bf16"}
    decodes = of(chip, "attention_decode").curve.seconds(part, column)
    prompts = of(chip, "attention_prefill").curve.seconds(part, column | {"batch": 1.0})
    error = np.abs((decodes + prompts) / frame["seconds"].to_numpy(float) - 1)
    assert len(error) == 48 and np.median(error) < 0.03 and error.max() < 0.10


def test_scores_cost_what_their_kernels_take() -> None:
    """H2O's column sums reach a sixth of the peak, where a usual share of attention would say half."""
    one = of("h200-sxm", "column_sums")
    assert 0.1 < one.parameters["tensor_share"] < 0.25
    found = kvsim.step(hw="h200", model="llama-3-8b", policy="h2o", phase="prefill", batch=1, context=4000)
    assert any("column sums" in line for line in found.assumptions)
