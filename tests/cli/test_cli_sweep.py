"""`kvsim sweep` as a command: its table, its progress, its exit codes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kvsim.cli import sweep as command

Cli = Callable[..., Any]
STUDY = "name: pair\nbase: {trace: quickstart, limit: 3}\naxes: {policy: [full, kivi]}\n"


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)
    return path


def test_a_table_and_a_folder_named_as_the_study(kvsim_cli: Cli, study: Path) -> None:
    ended = kvsim_cli("sweep", study.name, "--workers", "1")
    assert ended.code == 0 and ended.err == "pair: results.csv, results.parquet and results.json\n"
    lines = ended.out.splitlines()
    assert lines[0] == "pair: 2 of 2 points done, 2 of them run now"
    assert lines[2].split()[:4] == ["point", "policy", "ttft", "p50"] and lines[4].startswith("1      kivi")
    again = kvsim_cli("sweep", study.name, "--resume", "--json")
    assert json.loads(again.out) == json.loads((study.parent / "pair" / "results.json").read_text())
    assert "add --resume to go on" in kvsim_cli("sweep", study.name).mistake
    study.write_text(STUDY.replace("limit: 3", "limit: 4"))
    assert "2 points of another study" in kvsim_cli("sweep", study.name, "--resume").mistake


def test_failed_points_end_in_2_after_the_table(kvsim_cli: Cli, study: Path) -> None:
    study.write_text(STUDY.replace("kivi", "kivy"))
    ended = kvsim_cli("sweep", study.name, "--workers", "1")
    assert ended.code == 2 and "1      kivy    unknown policy 'kivy': did you mean kivi" in ended.out
    summary = "kvsim: 1 of 2 points failed; point 1: unknown policy 'kivy': did you mean kivi"
    assert ended.err.splitlines()[1].startswith(summary)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("no.yaml",), "no.yaml: No such file"),
        (("study.yaml", "--engine", "rya"), "unknown engine 'rya': did you mean ray?"),
        (("study.yaml", "--workers", "0"), "workers must be from 1 to 1024, but got 0"),
        (("study.yaml", "--ray-address", "here:1"), "a Ray address is for the engine ray"),
        (("study.yaml", "--out", "no/parent"), "cannot be written: no is no folder"),
    ],
)
def test_mistakes_are_one_line(kvsim_cli: Cli, study: Path, words: tuple[str, ...], message: str) -> None:
    assert message in kvsim_cli("sweep", *words).mistake
    assert [path.name for path in study.parent.iterdir()] == ["study.yaml"]


def test_progress_tells_what_is_left(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(command.time, "monotonic", lambda: clock[0])
    lines = command._Lines(terminal=False)
    for at, counts in (
        (0.0, (50, 0, 200, 50)),
        (29.0, (60, 0, 200, 50)),
        (60.0, (70, 1, 200, 50)),
        (61.0, (71, 1, 200, 50)),
    ):
        clock[0] = at
        lines(*counts)
    assert capsys.readouterr().err == "70 of 200 points, 1 failed, 1 min 0 s so far, 6 min 30 s left\n"
    on_terminal = command._Lines(terminal=True)
    on_terminal(199, 0, 200, 0)
    on_terminal.clear()  # click strips the rest of the sequence where there is no terminal
    assert capsys.readouterr().err == "\r199 of 200 points, 0 s so far, 0 s left\r"
