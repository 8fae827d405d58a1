"""Selection: which of the kept tokens a decode step reads, and what choosing and the index cost."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.traits.trait import Trait

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Selection(Trait):
    """A step reads all that is kept: the null selection, and what others override.

    Token counts are arrays [S] of one kv head in one layer of `kind`.
    """

    selects = False  # whether `read` may return less than is kept

    def read(self, kind: LayerKind, kept: Ints) -> Ints:
        """Tokens that attention reads."""
        return kept

    def recalled(self, kind: LayerKind, read: Ints) -> Ints:
        """Of the tokens read, those that a cache resting elsewhere must fetch anew in each step."""
        return read

    def scanned(self, kind: LayerKind, kept: Ints) -> Ints:
        """Index entries that a step compares with its queries."""
        return np.zeros_like(kept)

    def index_bytes(self, geo: Geometry, kind: LayerKind, kept: Ints) -> Ints:
        """Bytes of the index in HBM."""
        return np.zeros_like(kept)
