"""Runs the kernel tests through Triton's interpreter where there is no CUDA device (bf16 is wrong in it: left out)."""

import os

import pytest

MISSING = ""
CUDA = False
try:
    import torch

    CUDA = torch.cuda.is_available()
    if not CUDA:
        os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported
    from triton.runtime import interpreter
except ImportError as missing:
    MISSING = f"kernels_ref needs torch and triton (extra `kernels`): {missing}"

if not CUDA and not MISSING:
    _patch = interpreter._patch_lang_tensor

    def _patch_scalars(tensor, scope):
        """Triton 3.6 turns one-element arrays into loop bounds by int(), which numpy 2.4 refuses."""
        _patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    interpreter._patch_lang_tensor = _patch_scalars


class Unrunnable(pytest.Module):
    """A test file that says why it is skipped, before its imports can fail."""

    def collect(self):
        pytest.skip(MISSING)


def pytest_pycollect_makemodule(module_path, parent):
    """Skips the files of this folder, with the reason, where torch or triton is missing."""
    return Unrunnable.from_parent(parent, path=module_path) if MISSING else None


@pytest.fixture
def device() -> str:
    return "cuda" if CUDA else "cpu"


@pytest.fixture(params=["float16", "bfloat16"] if CUDA else ["float16"])
def dtype(request):
    return getattr(torch, request.param)
