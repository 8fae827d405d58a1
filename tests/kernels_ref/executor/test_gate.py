"""The gate that keeps a GPU waiting; in Triton's interpreter, where nothing else runs meanwhile."""

import pytest
import torch

from kernels_ref.executor.gate import Gate
from kernels_ref.executor.interpreted import INTERPRETED, repair

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
