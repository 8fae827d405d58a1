"""Triton's interpreter on a CPU: whether kernels run in it, and a repair that it needs."""

import os

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


def repair() -> None:
    """Triton 3.6 turns one-element arrays into loop bounds by int(), which numpy 2.4 refuses; give it an index."""
    if not INTERPRETED:
        return
    from triton.runtime import interpreter

    patch = interpreter._patch_lang_tensor
    if getattr(patch, "repaired", False):
        return

    def patched(tensor, scope):  # type: ignore[no-untyped-def]
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    patched.repaired = True
    interpreter._patch_lang_tensor = patched
