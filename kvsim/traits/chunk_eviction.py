"""Eviction between the chunks of a prompt, by trained heads: Locret."""

from dataclasses import dataclass

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.kernels import elementwise, weights_read
from kvsim.cost.op import Op
from kvsim.traits.scorers import TrainedHeads
from kvsim.traits.trait import Chunk


@dataclass(frozen=True)
class RetainingHeads(TrainedHeads):
    """Trained heads score each chunk's tokens; what the cache holds is cut to the budget before the next chunk.

    Attributes:
        stabilizers: newest tokens of a chunk that stay while the prompt is read.
    """

    stabilizers: int = 2500

    def chunk_ops(self, geo: Geometry, kind: LayerKind, chunk: Chunk) -> list[Op]:
        """The heads' weights, their GEMMs, top-k, and a gather of the rows that stay."""
        weights = 2.0 * self.hidden * (self._width(geo) + geo.kv_heads)
        rows = chunk.past * (4.0 * sum(kind.heads) * (geo.key_dim + geo.value_dim))
        return [
            weights_read("retaining_weights", weights, kind.layers),
            *super().chunk_ops(geo, kind, chunk),
            elementwise("gather_kept", rows, 2, kind.layers),
        ]
