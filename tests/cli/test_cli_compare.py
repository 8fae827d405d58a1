"""`kvsim compare` as a command: mistakes, JSON, files."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kvsim

WORDS = ("compare", "quickstart", "--limit", "60", "--hw", "h100,l40s", "--policy", "full,kivi:bits=4")
MISTAKES: list[tuple[tuple[str, ...], str]] = [
    (("compare",), "missing argument 'TRACE'"),
    ((*WORDS[:4], "--hw", "h100,h10"), "unknown hw 'h10': did you mean h100"),
    ((*WORDS[:4], "--policy", "full,kivy"), "unknown policy 'kivy': did you mean kivi"),
    ((*WORDS[:4], "--policy", "kivi:bits=4,5"), "bits must be int, but got '4,5'"),
    ((*WORDS[:4], "--policy", "full,"), "policy must be names separated by commas"),
    ((*WORDS[:4], "--serving", "vllm,vlm"), "did you mean vllm?"),
    ((*WORDS[:4], "--model", "lama-3-8b"), "did you mean llama-3-8b"),
    ((*WORDS[:4], "--latency", "ttft"), "unknown figure 'ttft': did you mean ttft_p"),
    ((*WORDS[:4], "--workers", "0"), "workers must be at least 1"),
    ((*WORDS[:4], "--set", "max_num_seq=3"), "unknown setting 'max_num_seq'"),
    ((*WORDS[:4], "--hw", "h100", "--model", "llama-3-70b"), "leaves no room for a cache on h100"),
    ((*WORDS[:4], "--out", "no/such/folder"), "is no folder"),
    ((*WORDS, "--loop", "closed"), "has no sessions"),
]


@pytest.mark.parametrize(("words", "message"), MISTAKES)
def test_mistakes(kvsim_cli: Callable[..., Any], words: tuple[str, ...], message: str) -> None:
    assert message in kvsim_cli(*words).mistake


def test_json_is_the_comparison(kvsim_cli: Callable[..., Any]) -> None:
    found = kvsim.compare("quickstart", hw="h100,l40s", policy="full,kivi:bits=4", limit=60)
    ended = kvsim_cli(*WORDS, "--json")
    assert ended.code == 0 and ended.err == ""
    said, expected = json.loads(ended.out), json.loads(json.dumps(found.to_json()))
    assert said.pop("wall_s") > 0 and expected.pop("wall_s") > 0
    assert said == expected
    assert {"hw", "policy", "serving", "problem", "pareto", "usd_per_mtok", "bound"} <= set(said["rows"][0])


def test_out_writes_a_folder_or_a_plot(kvsim_cli: Callable[..., Any], tmp_path: Path) -> None:
    folder, image = tmp_path / "out", tmp_path / "front.png"
    for _ in range(2):  # an older comparison is replaced
        ended = kvsim_cli(*WORDS, "--out", folder)
        assert ended.code == 0 and "pareto.png" in ended.err and "Pareto front" in ended.out
    assert sorted(path.name for path in folder.iterdir()) == [
        "compare.csv",
        "compare.json",
        "pareto.png",
        "report.html",
    ]
    report = json.loads((folder / "compare.json").read_text())
    assert "hardware/systems/l40s.yaml" in report["provenance"]["sha256"]["data"]
    rows = list(csv.DictReader((folder / "compare.csv").read_text().splitlines()))
    assert [float(row["usd_per_mtok"]) for row in rows] == [row["usd_per_mtok"] for row in report["rows"]]
    kvsim_cli(*WORDS, "--out", image)
    assert image.read_bytes() == (folder / "pareto.png").read_bytes()
    (folder / "mine.txt").touch()
    assert "is not empty and no report of kvsim" in kvsim_cli(*WORDS, "--out", folder).mistake
