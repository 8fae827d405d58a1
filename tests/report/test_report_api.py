"""`import kvsim`: the commands' Python twins."""

import importlib
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import numpy as np
import pytest

import kvsim

ROOT = Path(kvsim.__file__).parents[1]


def test_functions_stay_functions_whatever_is_imported() -> None:
    for module in ("kvsim.replay", "kvsim.onestep", "kvsim.oneop", "kvsim.cli.run", "kvsim.cli.step", "kvsim.cli.op"):
        importlib.import_module(module)
    assert all(callable(getattr(kvsim, name)) for name in ("run", "step", "op"))
    modules = {path.stem for path in (ROOT / "kvsim").iterdir()}
    assert not modules & set(kvsim.__all__), "a module would hide the function of its name"


def test_the_api_answers() -> None:
    assert kvsim.op("gemm", hw="h100", m=16, n=4096, k=14336).seconds > 0  # type: ignore[operator]
    assert kvsim.step(hw="h100", model="llama-3-8b", phase="decode", batch=16, context=4096).bound
    many = kvsim.step(hw="h100", model="llama-3-8b", batch=np.array([1, 2, 4]), context=4096)
    assert np.shape(many.seconds) == (3,)
    assert kvsim.run("quickstart", limit=2).figures["requests"]["completed"] == 2
    with pytest.raises(kvsim.UserError, match="did you mean"):
        kvsim.run("quickstart", hw="h10")
    with pytest.raises(AttributeError, match="no attribute 'rnu'"):
        kvsim.rnu  # type: ignore[attr-defined]  # noqa: B018
    assert dir(kvsim) == sorted(kvsim.__all__)


def test_importing_kvsim_costs_nothing() -> None:
    code = "import sys, kvsim; print(sorted({m.partition('.')[0] for m in sys.modules} & {'numpy', 'click', 'yaml'}))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_one_version() -> None:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert setup["metadata"]["version"] == kvsim.__version__
