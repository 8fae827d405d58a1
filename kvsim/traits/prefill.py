"""Prefill: which tokens pass through which layer while a prompt is read, and what else runs then.

A prompt is read in chunks, and what needs all of it (a selection by its last tokens) can only follow its last chunk.
So a method is two things: shares of each chunk that layers see at once, and Ops at the prompt's end.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kvsim.cost.geometry import Geometry
from kvsim.cost.op import Op
from kvsim.traits.trait import Chunk, End, Trait

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Prefill(Trait):
    """Every token passes through every layer: the null prefill, and what others override.

    `label` must tell layers apart whose shares differ.
    """

    def passes(self, geo: Geometry, layer: int) -> float:
        """Share of a chunk's tokens that reach a layer as the prompt is read."""
        return 1.0

    def attends(self, geo: Geometry, layer: int) -> float:
        """Share of a chunk's query-key pairs that the layer's attention computes."""
        return self.passes(geo, layer) ** 2

    def held_bytes(self, geo: Geometry, tokens: Ints) -> Ints:
        """Bytes in HBM besides the cache while `tokens` of a prompt [S] were read: an auxiliary model's own cache."""
        return np.zeros_like(tokens)

    def reading_ops(self, geo: Geometry, chunk: Chunk) -> list[Op]:
        """Ops of all layers and models that a chunk adds (an auxiliary model's pass); affine in the chunk."""
        return []

    def finishing_ops(self, geo: Geometry, end: End) -> list[Op]:
        """Ops of all layers once a prompt is complete: what its chunks left out. `end` is without the cache's bytes."""
        return []
