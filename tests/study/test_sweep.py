"""A sweep's results: the same bytes whether it was killed or not, failed points told, nothing finished run twice."""

import csv
import importlib.util
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

import kvsim
from kvsim.errors import UserError
from kvsim.study import local
from kvsim.study.store import FILE, RESULTS

ROOT = Path(__file__).parents[2]
STUDY: dict[str, Any] = {
    "name": "dozen",
    "base": {"trace": "quickstart", "limit": 25},
    "axes": {"policy": ["full", "kivi", "headinfer"], "hw": ["h100", "rtx4090"], "set.max_num_seqs": [4, 64]},
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The dozen points, uninterrupted."""
    return kvsim.sweep(STUDY, out=tmp_path_factory.mktemp("sweep") / "whole", workers=2)


def bytes_of(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in RESULTS]


def start(folder: Path, *words: str) -> "subprocess.Popen[bytes]":
    (folder / "dozen.yaml").write_text(json.dumps(STUDY))
    command = [sys.executable, "-m", "kvsim", "sweep", "dozen.yaml", "--workers", "2", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def begun(folder: Path) -> None:
    """Wait until the store holds a point: its write-ahead log has grown past the tables'."""
    wal = folder / f"{FILE}-wal"
    deadline = time.monotonic() + 30
    while not (wal.exists() and wal.stat().st_size > 40_000):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_each_point_is_the_run_of_its_options(whole: Any) -> None:
    assert whole.ran == 12 and not whole.failed
    point = whole.results["points"][7]
    assert point["varied"] == {"policy": "kivi", "hw": "rtx4090", "set.max_num_seqs": 64}
    figures = kvsim.run("quickstart", limit=25, policy="kivi", hw="rtx4090", settings={"max_num_seqs": 64}).figures
    del figures["wall_s"]
    assert point["figures"] == json.loads(json.dumps(figures))


def test_the_tables_agree(whole: Any) -> None:
    rows = list(csv.DictReader((whole.folder / "results.csv").read_text().splitlines()))
    table = parquet.read_table(whole.folder / "results.parquet").to_pylist()
    assert [int(row["point"]) for row in rows] == [row["point"] for row in table] == list(range(12))
    for row, other, point in zip(rows, table, whole.results["points"], strict=True):
        assert float(row["ttft_s.p99"]) == other["ttft_s.p99"] == point["figures"]["ttft_s"]["p99"]
        assert (row["policy"], row["status"], row["error"]) == (point["options"]["policy"], "done", "")
    assert not any("wall" in key for key in rows[0])


def test_killed_and_resumed_gives_the_same_bytes(whole: Any, tmp_path: Path) -> None:
    process = start(tmp_path)
    begun(tmp_path / "dozen")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL and not (tmp_path / "dozen" / RESULTS[0]).exists()
    again = kvsim.sweep(tmp_path / "dozen.yaml", out=tmp_path / "dozen", workers=2, resume=True)
    assert 0 < again.ran < 12
    assert bytes_of(tmp_path / "dozen") == bytes_of(whole.folder)
    assert kvsim.sweep(tmp_path / "dozen.yaml", out=tmp_path / "dozen", resume=True).ran == 0
    assert bytes_of(tmp_path / "dozen") == bytes_of(whole.folder)


def test_ctrl_c_ends_within_a_second_and_keeps_what_is_finished(tmp_path: Path) -> None:
    process = start(tmp_path)
    begun(tmp_path / "dozen")
    process.send_signal(signal.SIGINT)
    pressed = time.monotonic()
    out, err = process.communicate(timeout=20)
    assert time.monotonic() - pressed < 1
    assert (process.returncode, out) == (130, b"")
    assert err == b"what is finished is kept: --resume goes on from there\nkvsim: interrupted\n"
    with sqlite3.connect(tmp_path / "dozen" / FILE) as database:
        ((kept,),) = database.execute("SELECT count(*) FROM points WHERE status = 'done'")
    database.close()
    assert 0 < kept < 12


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed (the extra ray)")
@pytest.mark.skipif(not os.environ.get("KVSIM_SLOW"), reason="takes 20 s: set KVSIM_SLOW=1")
def test_ray_gives_the_same_bytes(whole: Any, tmp_path: Path) -> None:
    kvsim.sweep(STUDY, out=tmp_path / "ray", engine="ray", workers=2)
    assert bytes_of(tmp_path / "ray") == bytes_of(whole.folder)


def test_without_ray_one_line_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'kvsim\[ray\]'"):
        kvsim.sweep(STUDY, out=tmp_path / "ray", engine="ray")


def test_a_mistaken_point_fails_alone(tmp_path: Path) -> None:
    axes = {"policy": ["full", "kivy"], "set.max_num_seqs": [8, 0]}
    found = kvsim.sweep({**STUDY, "axes": axes}, out=tmp_path / "s", workers=1)
    assert [point["status"] for point in found.results["points"]] == ["done", "mistake", "mistake", "mistake"]
    assert "unknown policy 'kivy': did you mean kivi" in found.failed[1]["error"]
    rows = found.rows()
    assert rows[1]["ttft_s.p99"] is None and "max_num_seqs must be at least 1" in rows[1]["error"]
    assert kvsim.sweep({**STUDY, "axes": axes}, out=tmp_path / "s", resume=True).ran == 0


@pytest.mark.parametrize(("deaths", "statuses"), [(1, ["done", "done"]), (2, ["died", "done"])])
def test_a_point_whose_worker_dies_is_tried_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deaths: int, statuses: list[str]
) -> None:
    """The first processes are killed when they are given a point, as the kernel does when memory runs out."""
    real, started = local.started, []

    def fragile(module: str) -> "subprocess.Popen[bytes]":
        started.append(module)
        if len(started) > deaths:
            return real(module)
        dying = "import os, sys; sys.stdin.readline(); os.kill(os.getpid(), 9)"
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "process_group": 0}
        return subprocess.Popen([sys.executable, "-c", dying], **pipes)

    monkeypatch.setattr(local, "started", fragile)
    study = {"name": "s", "base": {"trace": "quickstart", "limit": 3}, "axes": {"hw": ["h100", "l40s"]}}
    found = kvsim.sweep(study, out=tmp_path / "s", workers=1)
    assert [point["status"] for point in found.results["points"]] == statuses
    assert [point["error"] for point in found.failed] == [
        "its worker died twice: killed by SIGKILL, as the kernel does when memory runs out"
    ] * (deaths - 1)
    assert len(started) == deaths + 1
    again = kvsim.sweep(study, out=tmp_path / "s", workers=1, resume=True)
    assert again.ran == len(found.failed) and not again.failed


def test_a_changed_file_is_another_study(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"timestamp": 0, "input_length": 100, "output_length": 5, "hash_ids": [1]}\n')
    (tmp_path / "s.yaml").write_text("name: s\nbase: {trace: log.jsonl}\n")
    kvsim.sweep(tmp_path / "s.yaml", out=tmp_path / "out", workers=1)
    (tmp_path / "log.jsonl").write_text('{"timestamp": 0, "input_length": 100, "output_length": 6, "hash_ids": [1]}\n')
    with pytest.raises(UserError, match="another study"):
        kvsim.sweep(tmp_path / "s.yaml", out=tmp_path / "out", workers=1, resume=True)
