"""A prompt's attention among its important tokens alone, which a few probe queries find: ZipVL."""

from collections.abc import Hashable
from dataclasses import dataclass

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.kernels import elementwise
from kvsim.cost.op import Op
from kvsim.traits.classes import Salience
from kvsim.traits.prefill import Prefill
from kvsim.traits.profile import EVEN, Figure
from kvsim.traits.trait import Chunk, End
from kvsim.traits.watchers import window_scores


@dataclass(frozen=True)
class ProbedSalience(Salience):
    """As ZipCache sorts tokens, but that a fixed number of queries (`queries`) probe a prompt, before its attention.

    Attributes:
        threshold: of the attention that important tokens must hold together; it decides their shares.
        figure: those, over the relative depth of layers; `share` is their mean.
    """

    queries: int = 128
    threshold: float = 0.975
    figure: Figure = EVEN

    def shares(self, layers: int) -> tuple[float, ...]:
        """As the figure says."""
        return self.figure.over(layers)

    def label(self, geo: Geometry, layer: int) -> Hashable:
        """Layers with other shares are told apart."""
        return self.shares(geo.model.layers)[layer]

    def chunk_ops(self, geo: Geometry, kind: LayerKind, chunk: Chunk) -> list[Op]:
        """Nothing beside the sparse attention."""
        return []

    def end_ops(self, geo: Geometry, kind: LayerKind, end: End) -> list[Op]:
        """Probe queries' scores, then codes of all rows."""
        return [*window_scores(geo, kind, end, self.queries), *super().end_ops(geo, kind, end)]


@dataclass(frozen=True)
class AmongImportant(Prefill):
    """All tokens pass through all layers, but a share of them, `figure` by layer, attends and is attended to."""

    figure: Figure

    def label(self, geo: Geometry, layer: int) -> Hashable:
        """Layers with other shares are told apart."""
        return self._share(geo, layer)

    def _share(self, geo: Geometry, layer: int) -> float:
        return self.figure.over(geo.model.layers)[layer]

    def attends(self, geo: Geometry, layer: int) -> float:
        """Pairs of important tokens."""
        return self._share(geo, layer) ** 2

    def chunk_ops(self, geo: Geometry, kind: LayerKind, chunk: Chunk) -> list[Op]:
        """Important rows of queries, keys and values are gathered, outputs scattered; tokens are sorted by score."""
        width = geo.query_bytes + 2.0 * geo.kv_heads * (geo.key_dim + geo.value_dim)
        moved = chunk.new * (2 * self._share(geo, kind.index[0]) * width + 8.0)
        return [elementwise("gather_important", moved, 4, kind.layers)]
