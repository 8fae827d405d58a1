"""DuoAttention: some kv heads keep everything, the others sinks and a window, in prefill and decode alike."""

from dataclasses import dataclass
from math import ceil

import numpy as np

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.kernels import elementwise
from kvsim.cost.op import Op
from kvsim.traits.retention import Ints, Retention
from kvsim.traits.trait import Chunk


@dataclass(frozen=True)
class RetrievalHeads(Retention):
    """`full`: share of each layer's kv heads that keep everything; a chip has whole heads, rounded up.

    Attributes:
        copies: streaming heads' caches are compacted by a clone and a copy after each chunk of `chunk` tokens.
    """

    full: float
    sinks: int
    recent: int
    copies: bool = False
    chunk: int = 4096
    aligned = False
    by_head = True

    def _full(self, heads: int) -> int:
        return min(heads, ceil(self.full * heads - 1e-9))

    def heads(self, geo: Geometry, layer: int) -> tuple[int, ...]:
        """Retrieval heads, then streaming heads."""
        full = self._full(geo.kv_heads)
        return tuple(many for many in (full, geo.kv_heads - full) if many)

    def _streams(self, kind: LayerKind, group: int) -> bool:
        return group == 1 or self._full(sum(kind.heads)) == 0

    def kept(self, prompt: int | Ints, context: Ints, kinds: tuple[LayerKind, ...]) -> Ints:
        """All tokens, or sinks and the newest."""
        short = np.minimum(context, self.sinks + self.recent)
        return np.stack([short if self._streams(k, g) else context for k in kinds for g in range(len(k.heads))])[
            :, None
        ]

    def prefill_limit(self, kind: LayerKind, group: int) -> int | None:
        """Streaming heads read a prompt under the same mask."""
        return self.sinks + self.recent if self._streams(kind, group) else None

    def more_launches(self, geo: Geometry, kind: LayerKind) -> float:
        """One kernel for each group."""
        return len(kind.heads) - 1.0

    def chunk_ops(self, geo: Geometry, kind: LayerKind, chunk: Chunk) -> list[Op]:
        """The released code's copies, spread over the chunk's tokens."""
        full = self._full(geo.kv_heads)
        streaming = geo.kv_heads - full if kind.heads[-1] == geo.kv_heads - full else 0
        if not self.copies or not streaming:
            return []
        moved = 4.0 * self.recent * streaming * 2 * (geo.key_dim + geo.value_dim)
        return [elementwise("compact_streaming", chunk.new * (moved / self.chunk), 4 / self.chunk, kind.layers)]
