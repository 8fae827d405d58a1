"""Executed steps against the model: rows that a made-up machine took, so many times as long as the model says."""

import csv
import json
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import kvsim
from kvsim import find
from kvsim.cli.validate import validate_command
from kvsim.cost.calibration import NOTHING
from kvsim.errors import UserError
from kvsim.validate import lend, stepcheck, steplog
from kvsim.validate.promise import promises, room
from kvsim.validate.runplots import scatter
from kvsim.validate.stepcheck import bytes_of, chip_of, groups, launching_s, lent, machine_of, priced, step_checks
from kvsim.validate.steplog import COLUMNS, StepRow, read_steps
from kvsim.validate.steptables import lent_lines, promise_lines, step_json, step_lines

CHIP = "h100-sxm"
BASE = {
    "model": "llama-3-8b", "policy": "full", "phase": "decode", "decodes": ((8, 4000, 3900),), "chunks": (),
    "graphed": 1,
    "before_bytes": 0, "peak_bytes": 0, "kv_bytes": 0, "weight_bytes": 0, "seconds": 1.0, "noise": 0.01, "wall_s": 0.0,
    "device": "made up", "command": "none",
}  # fmt: skip


def row(**changes: Any) -> StepRow:
    return StepRow(**(BASE | changes))


def made_up(slower: float = 1.0) -> list[StepRow]:
    """Rows of several kinds whose seconds are the model's, times a factor."""
    rows = [
        row(),
        row(policy="kivi"),
        row(policy="snapkv"),
        row(policy="headinfer", decodes=((1, 20_000, 19_000),)),
        row(decodes=((2, 300, 200), (3, 5000, 4000))),
        row(phase="prefill", decodes=(), chunks=((2048, 4096), (100, 0)), graphed=0),
        row(phase="prefill", decodes=(), chunks=((128, 0),), graphed=0),
        row(phase="mixed", chunks=((1024, 512),), graphed=0),
    ]
    return [
        replace(one.row, seconds=one.seconds * slower, kv_bytes=one.kv_bytes, peak_bytes=one.working_bytes)
        for one in priced(CHIP, rows)
    ]


def written(folder: Path, rows: list[StepRow]) -> Path:
    path = folder / CHIP / "steps.csv"
    path.parent.mkdir(parents=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*COLUMNS, "tp"], extrasaction="ignore")
        writer.writeheader()
        for one in rows:
            decodes = "+".join(f"{count}x{context}/{prompt}" for count, context, prompt in one.decodes)
            chunks = "+".join(f"{new}@{past}" for new, past in one.chunks)
            writer.writerow(asdict(one) | {"decodes": decodes, "chunks": chunks})
    return path


def test_a_row_is_priced_as_step_prices_it() -> None:
    """A captured batch of 8, and a prompt, whose past is gathered and whose kernels are launched one by one."""
    rows = [row(), row(phase="prefill", decodes=(), chunks=((2048, 0),), graphed=0)]
    decode, prefill = priced(CHIP, rows, as_executed=False)
    step = partial(kvsim.step, hw="h100", model="llama-3-8b", serving="executor")
    as_steps = step(batch=8, context=4000, generated=100), step(phase="prefill", context=2048)
    for one, found in zip((decode, prefill), as_steps, strict=True):
        terms = found.engine_terms or {}
        apart_s = terms["gap between steps"] + terms["kernels of its own"]  # no gaps in a series; as a run is priced
        assert one.seconds == pytest.approx(sum(terms.values()) - apart_s)
    own = priced(CHIP, [row()])[0]
    assert own.seconds == pytest.approx((as_steps[0].engine_seconds or 0) - terms["gap between steps"])
    assert decode.kv_bytes == 8 * 4000 * 131072
    assert 16e9 < decode.working_bytes < 16.2e9 < prefill.working_bytes


def test_errors_by_model_phase_and_policy(tmp_path: Path) -> None:
    written(tmp_path, made_up(1.25))
    (chip, found), *others = step_checks("h100", tmp_path).items()
    assert chip == CHIP and not others
    by = {(one.phase, one.policy, one.host): one for one in groups(chip, found)}
    assert len(by) == 7
    assert all(one.median == pytest.approx(0.2) and one.worst == pytest.approx(-0.2) for one in by.values())
    assert by["prefill", "full", True].worst_shape == "llama-3-8b: 128 new on 0"  # short and not graphed
    assert not by["mixed", "full", False].host
    assert [one.cache_exact for one in bytes_of(chip, found)] == [one.cache_rows for one in bytes_of(chip, found)]
    text = "\n".join(step_lines({chip: found}))
    kernels = 32 * 9 + 4  # four GEMMs, two norms, rotary with the cache write, attention, activation; what comes once
    assert launching_s(CHIP, found) == pytest.approx(1.25 * priced(CHIP, [found[6].row])[0].seconds / kernels)
    assert (
        "paced by the host" in text
        and "a kernel in their median" in text
        and "headinfer" in text
        and "cache bytes equal in" in text
    )
    json.dumps(step_json({chip: found}), allow_nan=False)


def test_chips_of_a_replica_are_apart(tmp_path: Path) -> None:
    rows = [*made_up(), row(tp=2, seconds=4e-3)]
    written(tmp_path, rows)
    assert list(step_checks(None, tmp_path)) == [CHIP, f"{CHIP} x2"]
    assert (machine_of(CHIP), chip_of("h100")) == ("h100", CHIP)


def test_a_chip_as_if_it_had_not_been_measured() -> None:
    """By the A100's curves steps come out otherwise; by the datasheet as they do where nothing was measured."""
    found = {CHIP: priced(CHIP, made_up())}
    both = dict(lent(found, [CHIP, "a100-sxm-80gb"]))
    assert list(both) == ["a100-sxm-80gb", "datasheet"]
    assert all(one.median > 0.01 for one in both["a100-sxm-80gb"] if not one.host)
    assert any("by datasheet" in line for line in lent_lines(both.items()))
    assert lend.machine("h100").curves is find.machine("h100").curves
    assert (lend.machine("h100", "rtx-4090").curves or NOTHING).lender == "rtx-4090"


def test_promises_and_what_was_kept() -> None:
    found = priced(CHIP, made_up(1.25))
    table = {one.policy: one for one in promises(CHIP, found)}
    assert set(table) == {"full", "kivi", "snapkv", "headinfer"}
    kivi = table["kivi"]
    assert kivi.kept and kivi.full_s and kivi.promised == pytest.approx(kivi.full_s / kivi.ideal_s)
    assert kivi.executed_s == pytest.approx(1.25 * kivi.foreseen_s) and kivi.kept == kivi.full_s / kivi.executed_s
    assert kivi.room and kivi.room > 3  # a sixth of the bytes
    assert kivi.published_s and kivi.published_s > kivi.ideal_s  # the released code dequantizes apart
    assert table["headinfer"].kept is None  # the full cache was not executed at its shape
    assert any("kivi" in line for line in promise_lines(list(table.values())))
    assert room("h100", "llama-3-8b", "full", 1, 100, 200) == 1.0


@pytest.mark.parametrize(
    ("change", "said"),
    [({"phase": "decod"}, "phase must be"), ({"seconds": 0.0}, "more than 0"), ({"decodes": ()}, "has tokens")],
)
def test_faults_of_a_table(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = written(tmp_path, [row(**change)])
    with pytest.raises(UserError, match=f"steps.csv:2: .*{said}"):
        read_steps(CHIP, tmp_path)
    path.write_text(path.read_text().replace("noise", "nose", 1))
    with pytest.raises(UserError, match="lacks the column 'noise'"):
        read_steps(CHIP, tmp_path)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, made_up())
    for module in (steplog, stepcheck):
        monkeypatch.setattr(module, "FOLDER", tmp_path)
    monkeypatch.setattr(stepcheck.step_checks, "__defaults__", (None, tmp_path))
    for what in ("steps", "policies"):
        shown = CliRunner().invoke(validate_command, [what])
        assert shown.exit_code == 0, shown.output
        assert "headinfer" in shown.output
        found = json.loads(CliRunner().invoke(validate_command, [what, "--json"]).output)
        assert found
    drawn = CliRunner().invoke(validate_command, ["steps", "--out", str(tmp_path / "plots")])
    assert drawn.exit_code == 0 and (tmp_path / "plots" / "validation-steps.png").stat().st_size > 10_000


def test_a_plot_of_the_same_points_has_the_same_bytes(tmp_path: Path) -> None:
    points = {"a chip": {"decode": ([1e-3, 2e-3], [1.1e-3, 1.9e-3])}}
    for name in ("one", "two"):
        scatter(points, tmp_path / f"{name}.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
