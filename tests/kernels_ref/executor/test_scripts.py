"""Both measuring scripts run through on a CPU with a tiny model, and write what kvsim reads back."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kernels_ref.executor.stepgrid import tiny_grid
from kernels_ref.executor.steps import table_of, without
from kvsim.validate.replaylog import read_replay


def script(name: str, out: Path, interpreted: bool, *words: str) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment |= {"TRITON_INTERPRET": "1"} if interpreted else {}
    command = [sys.executable, "-m", f"kernels_ref.executor.{name}", "--out", str(out), "--tiny", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_steps(tmp_path: Path) -> None:
    shown = script("steps", tmp_path, False)
    with (tmp_path / "steps.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["policy"].split(":")[0] for row in rows} == {
        "full", "fp8", "kivi", "streaming", "snapkv", "h2o", "offload", "headinfer",
    }  # fmt: skip
    assert {row["phase"] for row in rows} == {"prefill", "decode", "mixed"}
    assert all(row["kv_bytes"] == row["kv_predicted_bytes"] != "0" and float(row["seconds"]) > 0 for row in rows)
    assert len(shown.splitlines()) == len(rows) + 1
    assert len(without(tiny_grid(tmp_path), table_of(tmp_path / "steps.csv"))) == len(rows)  # short, without graphs
    for row in rows:
        row["graphed"] = "1"
    assert not without(tiny_grid(tmp_path), rows)


@pytest.mark.parametrize("interpreted", [False, True])
def test_replays(tmp_path: Path, interpreted: bool) -> None:
    known = {"short": "full"} if interpreted else {"drawn": "full", "headinfer": "headinfer"}
    script("replays", tmp_path, interpreted, "--only", ",".join(known), "--tar", str(tmp_path / "all.tgz"))
    for name, policy in known.items():
        log = read_replay(tmp_path / name)
        assert log.arguments["policy"] == policy and len(log.steps["seconds"]) >= 3
        assert (log.requests["done_s"] > log.requests["first_token_s"]).all()
        assert not (tmp_path / name / "steps.partial.csv").exists()
    assert (tmp_path / "all.tgz").stat().st_size > 1000
