"""Runs the kernel tests through Triton's interpreter where there is no CUDA device (bf16 is wrong in it: left out)."""

import os

import pytest

try:
    import torch

    CUDA = torch.cuda.is_available()
    if not CUDA:
        os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported
    import triton
except ImportError as missing:
    pytest.skip(f"kernels_ref needs torch and triton (extra `kernels`): {missing}", allow_module_level=True)

if not CUDA:
    from triton.runtime import interpreter

    _patch = interpreter._patch_lang_tensor

    def _patch_scalars(tensor, scope):
        """Triton 3.6 turns one-element arrays into loop bounds by int(), which numpy 2.4 refuses."""
        _patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    interpreter._patch_lang_tensor = _patch_scalars

__all__ = ["triton"]


@pytest.fixture
def device() -> str:
    return "cuda" if CUDA else "cpu"


@pytest.fixture(params=["float16", "bfloat16"] if CUDA else ["float16"])
def dtype(request):
    return getattr(torch, request.param)
