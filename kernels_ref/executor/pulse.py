"""Whether the GPU stood still in a step: its layers do equal work, so that one that takes far longer waited."""

import statistics
from collections.abc import Sequence
from itertools import pairwise

import torch

LONGER, LEAST_S = 2.0, 2e-3  # than the median layer: where the power limit sets in, some take 1.7 times as long


class Pulse:
    """`begin` before a step, a call as each layer is launched (`Decoder.watch`), `end` behind; then `stood_still`."""

    def __init__(self, layers: int) -> None:
        self._marks = [torch.cuda.Event(enable_timing=True) for _ in range(layers + 2)]

    def begin(self) -> None:
        """Before the first layer."""
        self._marks[0].record()

    def __call__(self, layer: int, *_: object) -> None:
        self._marks[1 + layer].record()

    def end(self) -> None:
        """After the last."""
        self._marks[-1].record()

    def stood_still(self) -> bool:
        """Whether a part of the step, which has run, took far longer than its layers do."""
        return uneven([a.elapsed_time(b) * 1e-3 for a, b in pairwise(self._marks)])


def uneven(parts_s: Sequence[float]) -> bool:
    """Whether the longest of several times is far above their median."""
    return max(parts_s) > LONGER * statistics.median(parts_s) + LEAST_S
