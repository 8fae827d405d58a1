"""Persistent positions: a few layers choose tokens by full attention, the layers after them reuse the choice."""

from dataclasses import dataclass

import numpy as np

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.kernels import elementwise
from kvsim.cost.op import Op
from kvsim.traits.selection import Ints, Selection
from kvsim.traits.trait import Decode


@dataclass(frozen=True)
class PersistentPositions(Selection):
    """TidalDecode: all layers before the first of `choosing` and those of `choosing` read everything.

    Those of `choosing` also find the `budget` tokens of highest score for each kv head; the other layers read them.
    """

    budget: int
    choosing: tuple[int, ...]
    selects = True

    def label(self, geo: Geometry, layer: int) -> str:
        """What a layer does."""
        return "chooses" if layer in self.choosing else "dense" if layer < min(self.choosing) else "reuses"

    def _role(self, kind: LayerKind) -> str:
        layer = kind.index[0]
        return "chooses" if layer in self.choosing else "dense" if layer < min(self.choosing) else "reuses"

    def read(self, kind: LayerKind, kept: Ints) -> Ints:
        """Everything, or the budget."""
        return np.minimum(kept, self.budget) if self._role(kind) == "reuses" else kept

    def decode_ops(self, geo: Geometry, kind: LayerKind, sums: Decode) -> list[Op]:
        """Scores leave attention, are added over the heads of a group and searched; positions are written, or read."""
        role = self._role(kind)
        if role == "dense":
            return []
        if role == "reuses":
            return [elementwise("read_positions", sums.tokens * 4.0, 0, kind.layers)]
        scores = sums.tokens * (2.0 * geo.queries_per_kv_head)
        positions = sums.sequences * (sum(kind.heads) * self.budget * 4.0)
        return [
            elementwise("export_scores", 2 * scores, 1, kind.layers),
            elementwise("choose_positions", 2 * sums.tokens * 2.0 + positions, 1, kind.layers),
        ]
