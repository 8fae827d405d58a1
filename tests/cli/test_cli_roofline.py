"""`kvsim roofline`: table, JSON, files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]
ROOFLINE = ("roofline", "--hw", "rtx4090", "--model", "llama-3-8b")


def test_table(kvsim_cli: Cli) -> None:
    out = kvsim_cli(*ROOFLINE, "--policy", "full,headinfer", "--batch", "1,8").out
    assert all(len(line) <= 96 for line in out.splitlines())
    for words in (
        "GDDR6X",
        "reaches the peak at",
        "headinfer, decode, batch 8: ",
        "fetch_cache",
        "step, host to GPU",
        "assumed",
    ):
        assert words in out, words
    assert sum(line.startswith(("full, ", "headinfer, ")) for line in out.splitlines()) == 8


def test_json(kvsim_cli: Cli) -> None:
    found = json.loads(kvsim_cli(*ROOFLINE, "--batch", "4", "--phase", "decode", "--json").out)
    assert found["roofs"][0].keys() == {"name", "lane", "bytes_per_s"} and found["peak_flops_per_s"]["bf16"] > 1e14
    op = next(op for op in found["ops"] if op["op"] == "up_proj")
    assert op["intensity"] == pytest.approx(op["flops"] / op["bytes"])
    assert op["flops_per_s"] == pytest.approx(op["flops"] / op["seconds"])
    assert {"roof_share", "bound", "step_share"} <= op.keys()


@pytest.mark.parametrize(("name", "begin"), [("r.png", b"\x89PNG"), ("r.html", b"<!DOCTYPE html>")])
def test_files(kvsim_cli: Cli, tmp_path: Path, name: str, begin: bytes) -> None:
    ended = kvsim_cli(*ROOFLINE, "--out", tmp_path / name)
    assert ended.code == 0 and (tmp_path / name).read_bytes().startswith(begin)
    assert ended.err.startswith(f"{tmp_path / name}: ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--out", "r.svg"), "--out r.svg: must end in .png or .html"),
        (("--out", "no/parent.png"), "cannot be written"),
        (("--batch", "many"), "--batch must be a whole number, or a list"),
        (("--tp", "0"), "--tp must be at least 1"),
        (("--phase", "mixed"), "phase must be one of prefill, decode"),
    ],
)
def test_mistakes_are_one_line(kvsim_cli: Cli, words: tuple[str, ...], message: str) -> None:
    assert message in kvsim_cli(*ROOFLINE, *words).mistake
