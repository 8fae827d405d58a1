"""A document is read chunk by chunk with the question behind each chunk: Finch."""

from dataclasses import dataclass

import numpy as np

from kvsim.cost.geometry import Geometry
from kvsim.cost.kernels import elementwise
from kvsim.cost.op import Op
from kvsim.traits.prefill import Prefill
from kvsim.traits.trait import End


@dataclass(frozen=True)
class Chunkwise(Prefill):
    """Each `chunk` tokens bring `question` more, which all layers compute again; kept keys are rotated anew.

    Attributes:
        capacity: tokens that are carried on.
    """

    chunk: int
    question: int
    capacity: int

    def passes(self, geo: Geometry, layer: int) -> float:
        """The question's tokens on top."""
        return 1 + self.question / self.chunk

    def attends(self, geo: Geometry, layer: int) -> float:
        """The question's rows see as much as the chunk's."""
        return 1 + self.question / self.chunk

    def finishing_ops(self, geo: Geometry, end: End) -> list[Op]:
        """Keys that a chunk leaves, on average half of the capacity, are read, rotated and written after each."""
        chunks = np.asarray(end.prompt) / self.chunk
        kept = np.minimum(end.prompt, self.capacity / 2)
        moved = chunks * kept * (4.0 * geo.kv_heads * geo.key_dim)
        return [elementwise("rotate_kept", moved[()], 1, geo.model.layers)]
