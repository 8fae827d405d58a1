"""Steps priced kernel by kernel, as the executor runs them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import kvsim
from kvsim import find
from kvsim.cost.executed import paged, tiles
from kvsim.cost.executed.batch import HEAVY_TOKENS, RECOVERS_S, SPENDS_S, Batch, PowerBudget
from kvsim.cost.executed.step import Executed
from kvsim.cost.rates import Rates
from kvsim.engine.executor import Executed as Took
from kvsim.replay import serving_preset
from kvsim.traces.trace import Trace
from kvsim.traits.layout import Layout
from kvsim.traits.policy import policy
from kvsim.validate.stepcheck import priced
from kvsim.validate.steplog import read_steps

SMS = 132
POLICIES = (
    "full",
    "fp8",
    "kivi",
    "kivi:bits=4",
    "streaming",
    "snapkv",
    "h2o",
    "headinfer",
    "headinfer:heads=2",
    "offload",
)


def executed(text: str, hw: str = "h100", model: str = "llama-3-8b", fidelity: str = "ideal") -> Executed | None:
    preset = serving_preset("executor", {"block_tokens": 128 if text.startswith("kivi") else 16})
    layout = Layout(policy(text, fidelity), find.model(model), 1, preset.block_tokens)
    return Executed.of(layout, Rates.of(find.machine(hw), 1), preset.overheads)


def made(text: str, **options: str) -> Executed:
    found = executed(text, **options)
    assert found is not None
    return found


def test_tiles_of_prompts_take_rounds() -> None:
    """A tile more than two on each SM begins a second round, which the tiles that fill it do not make longer."""
    equal = lambda heads: tiles.seconds(((128, 64000),), heads, 1, SMS)  # noqa: E731
    one, two = equal(2 * SMS), equal(2 * SMS + 1)
    start_s = tiles.LAUNCH_S + tiles.UNMASKED_S
    assert two - start_s == pytest.approx(2 * (one - start_s), rel=1e-3)
    assert equal(4 * SMS) == two
    assert equal(SMS) < equal(SMS + 1) == one  # two tiles on an SM hold each other up
    assert tiles.blocks(((130, 0),)) == [2 + 2 * tiles.MASKED, 3 + tiles.MASKED]
    assert tiles.seconds(((1024, 8192),), 32, 8, SMS, window=512) < tiles.seconds(((1024, 1024),), 32, 8, SMS)
    assert tiles.blocks(((200, 4),), None, False) == [1.0, 1.0]  # all queries see the same four keys
    assert tiles.one_round(((128, 0),), 2 * SMS, SMS) and not tiles.one_round(((129, 0),), 2 * SMS, SMS)


def test_keys_that_no_other_tile_reads_take_longer() -> None:
    """As many tiles over as many keys: of one kv head they meet in L2, of many they do not."""
    grouped, own = (tiles.seconds(((128, 8192),), SMS, kv_heads, SMS) for kv_heads in (1, SMS))
    assert grouped < own < 1.3 * grouped


def test_two_buffers_fill_while_the_rest_of_a_layer_runs() -> None:
    """Of eight units of a layer two are there when its attention begins; the others come one by one."""
    step, batch = made("headinfer"), Batch((4700,))
    gpu_s = step.seconds(batch)
    inside_s = step.layers * step._decode(batch)
    assert step.short_of_buffers(batch, gpu_s, 0.0) == pytest.approx(gpu_s)  # nothing to wait for
    waits = step.short_of_buffers(batch, gpu_s, gpu_s)
    assert waits == pytest.approx(gpu_s - inside_s + inside_s / 4 + gpu_s * 3 / 4)
    whole = made("offload")  # a layer at a time: the next one's comes while this one runs
    assert whole.short_of_buffers(batch, gpu_s, 10 * gpu_s) == pytest.approx(gpu_s)


def test_unlike_rows_take_as_long_as_the_longest() -> None:
    """The same tokens in rows of one length are read sooner; a short row more costs hardly anything."""
    step, chip = made("full"), find.machine("h100").chip

    def seconds(kept: tuple[int, ...]) -> float:
        width = paged.width_of(max(kept))
        return paged.seconds(step.curve, chip, kept, len(kept), 32, 8, 128, 2.0, width)

    alike, unlike = seconds((1000,) * 24), seconds((500,) * 23 + (12500,))
    assert unlike > 1.5 * alike
    assert seconds((500,) * 22 + (12500,)) == pytest.approx(unlike, rel=0.1)
    pace = paged.Pace(1.0, 0.0, 0.0)
    assert paged.shares_of([4, 9], 1, 2, 5) == [4, 5, 4]
    assert paged.drained([4, 4, 4], 2, pace, 0.0) == 8 and paged.drained([4, 5, 4], 8, pace, 0.0) == 5
    assert paged.drained([4, 4], 2, paged.Pace(1.0, 1.0, 0.0), 1.0) == 10  # both start, and share HBM
    assert paged.width_of(256) == 256 and paged.width_of(257) == 384


def test_waves_of_ctas_that_have_an_sm_each() -> None:
    """One CTA more than SMs takes a second wave, whose starts pass in part while HBM keeps the others waiting."""
    own, hbm = paged.Pace(1.0, 0.0, 0.0), paged.Pace(1.0, 3.0 / SMS, 0.0)
    assert paged.in_waves(SMS, 4, SMS, own, 2.0) == 2 + 3  # the first block is part of the start
    assert paged.in_waves(SMS + 1, 4, SMS, own, 2.0) == 2 * (2 + 3)
    assert paged.in_waves(SMS, 4, SMS, hbm, 2.0) == pytest.approx(2 + 12)
    assert 24 + 2 < paged.in_waves(2 * SMS, 4, SMS, hbm, 2.0) < 2 * (2 + 12)


def test_an_sm_holds_what_registers_leave_room_for() -> None:
    """Partial results of several kv heads leave threads of the 16-bit kernel fewer registers: five CTAs, not four."""
    assert paged.held(64, 4, 2.0, True) == 5 and paged.held(64, 4, 2.0, False) == 4
    assert paged.held(64, 4, 1.0, True) == 4 and paged.held(32, 4, 1.0, True) == 6
    assert paged.held(128, 1, 2.0, True) == 1


@pytest.mark.parametrize("chip", ["h100-sxm", "h200-sxm"])
def test_rows_alike_take_what_was_measured(chip: str) -> None:
    """The kernel by itself over rows of one length (attention_decode.csv)."""
    rates = Rates.of(find.machine(chip[:4]), 1)
    frame = pd.read_csv(find.ROOT / "hardware" / "calibration" / chip / "attention_decode.csv")
    errors = []
    for row in frame[(frame.kernel == "kernels_ref decode") & (frame.head_dim == 128)].itertuples():
        curve = rates.curves.curve("attention_decode", row.dtype)
        assert curve is not None
        kept, element_bytes = (row.context,) * row.batch, 2.0 if row.dtype == "bf16" else 1.0
        shape = (kept, row.batch, row.heads, row.kv_heads, 128, element_bytes, -(-row.context // 16) * 16)
        errors.append(abs(paged.seconds(curve.curve, rates.chip, *shape) / row.seconds - 1))
    assert len(errors) > 250 and np.median(errors) < 0.025 and np.quantile(errors, 0.9) < 0.085


def test_the_power_budget_is_spent_by_prompts_and_comes_back() -> None:
    budget = PowerBudget()
    assert budget.at(0.0) == SPENDS_S
    budget.spend(0.0, 0.6 * SPENDS_S, HEAVY_TOKENS)
    assert budget.at(0.6 * SPENDS_S) == pytest.approx(0.4 * SPENDS_S)
    budget.spend(0.6 * SPENDS_S, 3.0, 2048)
    assert budget.at(3.0) == 0.0 and budget.at(3.0 + RECOVERS_S / 2) == pytest.approx(SPENDS_S / 2)
    budget.spend(3.0, 3.0 + RECOVERS_S, 0)  # decodes draw less than the limit
    assert budget.at(3.0 + RECOVERS_S) == pytest.approx(SPENDS_S)


def test_a_prompt_behind_another_takes_longer() -> None:
    step = made("full")
    first, later = (step.seconds(Batch(chunks=((2048, 0),), full_clock_s=left)) for left in (SPENDS_S, 0.0))
    between = step.seconds(Batch(chunks=((2048, 0),), full_clock_s=SPENDS_S / 2))
    assert 1.03 * first < later < 1.15 * first and first < between < later


@pytest.mark.parametrize("text", POLICIES)
def test_seconds_grow_with_what_a_step_holds(text: str) -> None:
    step = made(text)
    at = lambda kept, chunks, ends=(): step.seconds(Batch(kept, chunks, ends, 0.0))  # noqa: E731
    few, more = at((1500,) * 8, ()), at((1500,) * 64, ())
    assert 0.004 < few < more < 0.1
    short, long, past = at((), ((1024, 0),)), at((), ((2048, 0),)), at((), ((2048, 8192),))
    assert short < long < past
    assert at((1500,) * 8, ((2048, 0),)) > long
    assert at((), ((2048, 4096),), (6144,)) >= at((), ((2048, 4096),))


def test_what_the_executor_does_not_run_is_priced_as_ever() -> None:
    for text, fidelity in (
        ("pyramidkv", "ideal"),
        ("snapkv+kivi", "ideal"),
        ("h2o", "published"),
        ("kivi:bits=8", "ideal"),
    ):
        assert executed(text, fidelity=fidelity) is None
    assert executed("full", hw="rtx4090") is None  # its decode kernel is another
    assert executed("full", model="mixtral-8x7b") is None
    trace = Trace("t", np.array([0.0, 0.1]), np.array([700, 900]), np.array([30, 40]))
    runs = [
        kvsim.run(trace, hw="rtx4090", model="llama-3-8b", serving="executor", settings={"as_executed": on})
        for on in (True, False)
    ]
    assert runs[0].figures["duration_s"] == runs[1].figures["duration_s"]


@pytest.mark.parametrize(("chip", "median", "p90"), [("h100-sxm", 0.02, 0.06), ("h200-sxm", 0.03, 0.065)])
def test_executed_steps(chip: str, median: float, p90: float) -> None:
    """Committed steps of every policy and model, whatever their phase."""
    rows = [row for row in read_steps(chip) if not row.paced_by_host]
    errors = np.abs([one.error for one in priced(chip, rows)])
    assert len(errors) > 100 and np.median(errors) < median and np.percentile(errors, 90) < p90
    usual = np.abs([one.error for one in priced(chip, rows, as_executed=False)])
    assert np.median(usual) > 1.5 * np.median(errors)


def test_an_executor_hears_the_same_price() -> None:
    """In lockstep each step is priced with what executed steps before it left of the power budget."""

    class Slow:
        def step(self, step: object) -> Took:
            return Took(1.0, 1.0)

        def close(self) -> None: ...

    seen: list[float] = []
    trace = Trace("t", np.zeros(3), np.full(3, 2048), np.ones(3, np.int64))
    options = {"hw": "h100", "model": "llama-3-8b", "serving": "executor"}
    kvsim.run(trace, executor=lambda *_: Slow(), observers=(lambda _, span: seen.append(span.predicted_s),), **options)
    assert len(seen) == 3 and seen[0] < seen[1] == pytest.approx(seen[2])
    alone = kvsim.run(replace(trace, arrival_s=np.array([0.0, 5.0, 10.0])), **options)
    assert alone.figures["duration_s"] == pytest.approx(10 + seen[0], rel=1e-3)
