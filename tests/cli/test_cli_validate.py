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
    assert "a100-sxm-80gb  gemm               bf16 *" in out
    assert "* as committed: the published tables are not at hand (KVSIM_SHARED names their folder)" in out
    assert "cuBLAS as vLLM 0.14 calls it; aiconfigurator 0.12.0 (PyPI), Apache-2.0" in out
    assert "as if they were not" not in out


def test_json(kvsim_cli: Cli, alone: None) -> None:
    found = json.loads(kvsim_cli("validate", "--hw", "rtx4090", "--json").out)
    assert found.keys() == {"comparisons", "in_steps", "not_measured"}
    assert [one["op"] for one in found["comparisons"]] == ["gemm", "attention_decode", "attention_prefill"]
    for one in found["comparisons"]:
        assert one.keys() >= {"name", "op", "dtype", "kernel", "source", "rows", "median", "p90", "worst"}
        assert not one["recomputed"]


def test_mistakes(kvsim_cli: Cli, alone: None, tmp_path: Path) -> None:
    assert "unknown hw 'h10'" in kvsim_cli("validate", "--hw", "h10").mistake
    assert "nothing was measured of it; there are curves of" in kvsim_cli("validate", "--hw", "a6000").mistake
    assert "no measurements to draw" in kvsim_cli("validate", "--out", str(tmp_path)).mistake


def test_the_scatter_is_drawn(kvsim_cli: Cli, tmp_path: Path) -> None:
    from kvsim.validate.published import folder

    if folder() is None:
        pytest.skip("no published measurements: set KVSIM_SHARED")
    ended = kvsim_cli("validate", "--hw", "nvlink3", "--out", str(tmp_path / "plots"))
    assert ended.code == 0
    assert (tmp_path / "plots" / "validation.png").stat().st_size > 5000
