"""Keeps the GPU waiting until the host has launched a step, so that what the host takes is in no step's seconds.

A kernel of one thread looks at a flag in host memory. It gives up after `LOOKS`: a host that itself waits for the GPU,
because its queue of launches is full or a kernel is new and must be loaded, would never raise the flag.
"""

import torch
import triton
import triton.language as tl

LOOKS = 200_000  # some 0.2 s: a read over PCIe takes about a microsecond
CLOSED, OPEN, GIVEN_UP = 0, 1, 2


class Gate:
    """What is launched after `close` starts once `open` was called, or after `looks` looks."""

    def __init__(self, looks: int = LOOKS, pinned: bool = True) -> None:
        self._flag = torch.zeros(2, dtype=torch.int32, pin_memory=pinned)
        self._seen = self._flag.numpy()
        self._looks = looks

    def close(self) -> None:
        """The GPU waits from here on."""
        self._seen[:] = CLOSED
        self.wait()

    def wait(self) -> None:
        """Launch what waits."""
        _wait[(1,)](self._flag, self._looks, GIVEN_UP, num_warps=1)

    def open(self) -> None:
        """The host has launched all of it."""
        self._seen[0] = OPEN

    @property
    def held(self) -> bool:
        """Whether the GPU waited for the host to the end; known once the step has run."""
        return int(self._seen[1]) != GIVEN_UP


@triton.jit
def _wait(flag, looks, given_up):  # type: ignore[no-untyped-def]
    """Until flag[0] is raised; into flag[1] goes whether that took too long."""
    left = looks
    raised = tl.load(flag, volatile=True)
    while (raised == 0) & (left > 0):
        raised = tl.load(flag, volatile=True)
        left -= 1
    if raised == 0:
        tl.store(flag + 1, given_up)
