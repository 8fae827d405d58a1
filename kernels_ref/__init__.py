"""Reference kernels: compressed attention that really runs, in Triton, each with an obvious Torch twin beside it.

Read `online.py` (the online softmax), then `decode_kernel.py` (one for every cache that is read as it is stored),
then any other kernel. `python -m kernels_ref.bench` times them all. Needs the extra `kernels` (torch, triton).

`kernels_ref.compress` executes any policy on a model's real tensors (`kernels_ref/twins`).
"""

from typing import Any


def __getattr__(name: str) -> Any:
    """`compress`, imported when it is asked for."""
    if name == "compress":
        from kernels_ref.twins.compress import compress

        return compress
    raise AttributeError(name)
