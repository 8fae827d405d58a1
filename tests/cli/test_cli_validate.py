"""`kvsim validate`: from committed residuals without measurements, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No published measurements at hand."""
    monkeypatch.delenv("KVSIM_SHARED", raising=False)


def test_committed_residuals_are_shown_and_marked(kvsim_cli: Cli, alone: None) -> None:
    out = kvsim_cli("validate").out
    assert "a100-sxm-80gb  gemm                  bf16 *" in out
    assert "* as committed: the published tables are not at hand (KVSIM_SHARED names their folder)" in out
    assert "cuBLAS as vLLM 0.14 calls it; aiconfigurator 0.12.0 (PyPI), Apache-2.0" in out
    assert "as if they were not" not in out


def test_json(kvsim_cli: Cli, alone: None) -> None:
    found = json.loads(kvsim_cli("validate", "--hw", "rtx4090", "--json").out)
    assert found.keys() == {"comparisons", "in_steps", "whole_steps", "not_measured"}
    assert [one["op"] for one in found["comparisons"]] == ["gemm", "attention_decode", "attention_prefill"]
    for one in found["comparisons"]:
        assert one.keys() >= {"name", "op", "dtype", "kernel", "source", "rows", "median", "p90", "worst"}
        assert not one["recomputed"]


def test_mistakes(kvsim_cli: Cli, alone: None, tmp_path: Path) -> None:
    assert "unknown hw 'h10'" in kvsim_cli("validate", "--hw", "h10").mistake
    assert "nothing was measured of it; there are curves of" in kvsim_cli("validate", "--hw", "a6000").mistake
    assert "no measurements to draw" in kvsim_cli("validate", "--hw", "nvlink3", "--out", str(tmp_path)).mistake


def test_the_scatter_is_drawn(kvsim_cli: Cli, tmp_path: Path) -> None:
    from kvsim.validate.published import folder

    if folder() is None:
        pytest.skip("no published measurements: set KVSIM_SHARED")
    ended = kvsim_cli("validate", "--hw", "nvlink3", "--out", str(tmp_path / "plots"))
    assert ended.code == 0
    assert (tmp_path / "plots" / "validation.png").stat().st_size > 5000


def test_on_ones_own_measurements(kvsim_cli: Cli, tmp_path: Path) -> None:
    """Seconds that `kvsim op` gives are predicted without error; twice as long ones are half as long."""
    path, known = tmp_path / "mine.csv", []
    for m, times in ((16, 1.0), (512, 2.0)):
        words = ("op", "gemm", f"m={m}", "n=4096", "k=14336", "--hw", "a100-80", "--json")
        known.append(f"gemm,bf16,{json.loads(kvsim_cli(*words).out)['seconds'] * times!r},{m},4096,14336,,")
    words = ("op", "all_reduce", "bytes=65536", "gpus=4", "--hw", "a100-80x4", "--json")
    known.append(f"all_reduce,bf16,{json.loads(kvsim_cli(*words).out)['seconds']!r},,,,65536,4")
    path.write_text("\n".join(["op,dtype,seconds,m,n,k,bytes,gpus", *known]) + "\n")
    found = json.loads(kvsim_cli("validate", "--hw", "a100-80x4", "--on", path, "--json").out)["comparisons"]
    assert [(one["op"], one["rows"]) for one in found] == [("gemm", 2), ("all_reduce", 1)]
    assert found[0]["worst"] == pytest.approx(-0.5) and found[0]["worst_shape"] == "m=512 n=4096 k=14336"
    assert found[1]["worst"] == pytest.approx(0, abs=1e-4)
    shown = kvsim_cli("validate", "--hw", "a100-80x4", "--on", path).out
    assert "curve of cuBLAS as vLLM 0.14 calls it" in shown and "-50 %" in shown


def test_on_what_calibrate_wrote(kvsim_cli: Cli, tmp_path: Path) -> None:
    """Rows of a kernel are held against that kernel's curve; a folder is all of its tables."""
    from kvsim.find import ROOT

    folder = ROOT / "hardware" / "calibration" / "h100-sxm"
    found = json.loads(kvsim_cli("validate", "--hw", "h100", "--on", folder, "--json").out)["comparisons"]
    known = {(one["op"], one["kernel"]): one for one in found}
    assert known["attention_prefill", "SDPA cuDNN"]["provenance"].startswith("curve of SDPA cuDNN")
    assert known["gemm", "torch.mm"]["median"] < 0.04
    assert "holds no table of gemm" in kvsim_cli("validate", "--hw", "h100", "--on", tmp_path).mistake


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("op,dtype\ngemm,bf16\n", "lacks the column 'seconds'"),
        ("op,dtype,seconds\n", "holds no rows"),
        ("op,dtype,seconds\ngem,bf16,1\n", ":2: unknown op 'gem'"),
        ("op,dtype,seconds,m,n,k\ngemm,bf17,1,1,1,1\n", "unknown dtype 'bf17'"),
        ("op,dtype,seconds,m,n\ngemm,bf16,1,1,1\n", "gemm needs the column 'k'"),
        ("op,dtype,seconds,m,n,k\ngemm,bf16,1,1,1,1\ngemm,bf16,0,1,1,1\n", ":3: seconds must be a positive number"),
        ("op,dtype,seconds,bytes,gpus\nall_reduce,bf16,1,64,2\n", "gpus must be 2 to 1"),
    ],
)
def test_faults_of_ones_own_file(kvsim_cli: Cli, tmp_path: Path, text: str, mistake: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(text)
    assert mistake in kvsim_cli("validate", "--hw", "l40s", "--on", path).mistake


def test_on_needs_a_file_and_a_machine(kvsim_cli: Cli, tmp_path: Path) -> None:
    assert "No such file" in kvsim_cli("validate", "--hw", "l40s", "--on", tmp_path / "none.csv").mistake
    assert "give --hw" in kvsim_cli("validate", "--on", tmp_path / "none.csv").mistake
