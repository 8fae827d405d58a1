"""Reads by sums of recent attention: ALISA's sparse window."""

from dataclasses import dataclass

import numpy as np

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.kernels import elementwise
from kvsim.cost.op import Op
from kvsim.traits.selection import Ints, Selection
from kvsim.traits.trait import Decode


@dataclass(frozen=True)
class LocalSums(Selection):
    """ALISA: a step reads a share of the tokens, half of them the newest, half those with the largest recent attention.

    Attributes:
        share: of the tokens. window: steps over which attention is added up. misses: share of what is read
            that was not read a step before.
    """

    share: float
    window: int
    misses: float = 1.0
    selects = True

    def read(self, kind: LayerKind, kept: Ints) -> Ints:
        """ceil(share x kept)."""
        found: Ints = np.ceil(kept * self.share).astype(np.int64)
        return found

    def recalled(self, kind: LayerKind, read: Ints) -> Ints:
        """What was not read a step before."""
        missed: Ints = np.ceil(read * self.misses).astype(np.int64)
        return missed

    def scanned(self, kind: LayerKind, kept: Ints) -> Ints:
        """A token's recent probabilities."""
        return kept

    def index_bytes(self, geo: Geometry, kind: LayerKind, kept: Ints) -> Ints:
        """fp32 probabilities of the last `window` steps: a sum alone could not forget the oldest."""
        return 4 * self.window * kept

    def decode_ops(self, geo: Geometry, kind: LayerKind, sums: Decode) -> list[Op]:
        """A step's scores replace the oldest ones; sums over the window; top-k; a gather of rows that lie apart."""
        scores = sums.tokens * (2.0 * geo.queries_per_kv_head) + sums.scanned * (4.0 * self.window + 8.0)
        return [elementwise("local_sums", scores, 4, kind.layers)]
