"""Budget groups: layers that a policy treats alike, and in them kv heads that keep the same number of tokens."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kvsim.cost.geometry import Geometry, LayerKind

if TYPE_CHECKING:
    from kvsim.traits.policy import Policy

Ints = NDArray[np.int64]


def layer_kinds(policy: "Policy", geo: Geometry) -> tuple[LayerKind, ...]:
    """Layers that have the same window, the same head groups and the same label of every trait, in order."""
    found: dict[tuple[int | None, tuple[int, ...], Hashable], list[int]] = {}
    for layer, window in enumerate(geo.windows):
        labels = tuple(trait.label(geo, layer) for trait in policy.traits)
        found.setdefault((window, policy.retention.heads(geo, layer), labels), []).append(layer)
    return tuple(LayerKind(len(index), heads, window, tuple(index)) for (window, heads, _), index in found.items())


@dataclass(frozen=True, eq=False)
class Groups:
    """All head groups of all kinds, in order: arrays [G]. `windows` is None where no layer has one."""

    heads: Ints
    layers: Ints
    kind: Ints
    layer: Ints  # the first of its kind
    first: Ints  # of each kind
    windows: Ints | None

    @classmethod
    def of(cls, kinds: tuple[LayerKind, ...]) -> "Groups":
        """The groups of layer kinds."""
        widest = np.iinfo(np.int64).max
        rows = [
            (heads, kind.layers, k, kind.index[0], kind.window or widest)
            for k, kind in enumerate(kinds)
            for heads in kind.heads
        ]
        heads, layers, kind, layer, windows = np.array(rows, np.int64).T
        first = np.searchsorted(kind, np.arange(len(kinds)))
        return cls(heads, layers, kind, layer, first, windows if (windows < widest).any() else None)

    def by_kind(self, values: Ints) -> Ints:
        """Sums over the groups of each kind: [G, S] to [K, S]."""
        if len(self.first) == len(self.heads):
            return values
        summed: Ints = np.add.reduceat(values, self.first, axis=0)
        return summed
