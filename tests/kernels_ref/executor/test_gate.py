"""The gate that keeps a GPU waiting; in Triton's interpreter, where nothing else runs meanwhile."""

import pytest
import torch

from kernels_ref.executor.gate import Gate
from kernels_ref.executor.interpreted import INTERPRETED, repair
from kernels_ref.executor.pulse import uneven

pytestmark = pytest.mark.skipif(not INTERPRETED and not torch.cuda.is_available(), reason="needs Triton's interpreter")


def test_gives_up_on_a_host_that_never_opens() -> None:
    repair()
    gate = Gate(looks=5, pinned=torch.cuda.is_available())
    gate.close()
    _finish()
    assert not gate.held


def test_an_open_gate_lets_pass() -> None:
    repair()
    gate = Gate(looks=5, pinned=torch.cuda.is_available())
    gate.open()
    gate.wait()
    _finish()
    assert gate.held


def _finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def test_a_layer_that_waited_shows() -> None:
    """Layers of one step take alike, under the power limit some 1.7 times as long; a host that stalls takes longer."""
    assert not uneven([0.1e-3, 1.5e-3, 1.5e-3, 2.5e-3, 1.8e-3, 0.4e-3])
    assert uneven([0.1e-3, 1.5e-3, 1.5e-3, 8e-3, 1.8e-3, 0.4e-3])
    assert uneven([20e-3, 1.5e-3, 1.5e-3, 1.5e-3, 1.8e-3, 0.4e-3])
