"""DuoAttention: some kv heads keep everything, the others sinks and a window, in prefill and decode alike."""

from collections.abc import Hashable
from dataclasses import dataclass
from math import ceil

import numpy as np

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.kernels import elementwise
from kvsim.cost.op import Op
from kvsim.traits.profile import EVEN, Figure
from kvsim.traits.retention import Ints, Retention
from kvsim.traits.trait import Chunk


@dataclass(frozen=True)
class RetrievalHeads(Retention):
    """`full`: share of the model's kv heads that keep everything; a chip has whole heads of a layer, rounded up.

    Attributes:
        figure: a layer's share of them over that of all layers, by relative depth.
        copies: streaming heads' caches are compacted by a clone and a copy after each chunk of `chunk` tokens.
    """

    full: float
    sinks: int
    recent: int
    copies: bool = False
    chunk: int = 4096
    figure: Figure = EVEN
    aligned = False
    by_head = True

    def full_heads(self, heads: int, layer: int, many: int) -> int:
        """Retrieval heads of `heads` in a layer of `many`."""
        return min(heads, ceil(self.full * self.figure.over(many)[layer] * heads - 1e-9))

    def label(self, geo: Geometry, layer: int) -> Hashable:
        """Retrieval heads of the layer."""
        return self.full_heads(geo.kv_heads, layer, geo.model.layers)

    def heads(self, geo: Geometry, layer: int) -> tuple[int, ...]:
        """Retrieval heads, then streaming heads."""
        full = self.full_heads(geo.kv_heads, layer, geo.model.layers)
        return tuple(many for many in (full, geo.kv_heads - full) if many)

    def _streams(self, kind: LayerKind, group: int, many: int) -> bool:
        return group == 1 or self.full_heads(sum(kind.heads), kind.index[0], many) == 0

    def kept(self, prompt: int | Ints, context: Ints, kinds: tuple[LayerKind, ...]) -> Ints:
        """All tokens, or sinks and the newest."""
        short, many = np.minimum(context, self.sinks + self.recent), sum(kind.layers for kind in kinds)
        each = [short if self._streams(k, g, many) else context for k in kinds for g in range(len(k.heads))]
        return np.stack(each)[:, None]

    def prefill_limit(self, geo: Geometry, kind: LayerKind, group: int) -> int | None:
        """Streaming heads read a prompt under the same mask."""
        return self.sinks + self.recent if self._streams(kind, group, geo.model.layers) else None

    def more_launches(self, geo: Geometry, kind: LayerKind) -> float:
        """One kernel for each group."""
        return len(kind.heads) - 1.0

    def chunk_ops(self, geo: Geometry, kind: LayerKind, chunk: Chunk) -> list[Op]:
        """The released code's copies, spread over the chunk's tokens."""
        streaming = geo.kv_heads - self.full_heads(geo.kv_heads, kind.index[0], geo.model.layers)
        if not self.copies or not streaming:
            return []
        moved = 4.0 * self.recent * streaming * 2 * (geo.key_dim + geo.value_dim)
        return [elementwise("compact_streaming", chunk.new * (moved / self.chunk), 4 / self.chunk, kind.layers)]
