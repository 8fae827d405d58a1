"""`kvsim calibrate` where there is nothing to measure: one line that says what it needs."""

from importlib.util import find_spec

import pytest
from click.testing import CliRunner

from kvsim.cli.main import cli
from kvsim.errors import UserError

KERNELS = bool(find_spec("torch") and find_spec("triton"))  # found, not imported: triton looks at its settings once


def _has_device() -> bool:
    if not KERNELS:
        return False
    import torch

    return torch.cuda.is_available()


def _refused(*words: str) -> str:
    found = CliRunner().invoke(cli, ["calibrate", *words])
    assert isinstance(found.exception, UserError), found.exception
    return str(found.exception)


@pytest.mark.skipif(_has_device(), reason="there is a CUDA device")
def test_it_says_what_it_needs(tmp_path) -> None:
    text = _refused("--out", str(tmp_path / "mine"))
    assert ("needs a CUDA device" if KERNELS else "needs the extra `kernels`") in text
    assert not (tmp_path / "mine").exists()


@pytest.mark.skipif(not KERNELS, reason="needs torch and triton (extra `kernels`)")
def test_an_unknown_class_is_named(tmp_path) -> None:
    assert "did you mean gemm" in _refused("--out", str(tmp_path), "--only", "copies,gemms")
