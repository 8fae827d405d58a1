"""LagKV: partitions are thinned once the next one is complete, without any attention scores."""

from dataclasses import dataclass

import numpy as np

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.kernels import elementwise
from kvsim.cost.op import Op
from kvsim.traits.retention import Ints, Retention
from kvsim.traits.trait import Decode, End


@dataclass(frozen=True)
class Lagged(Retention):
    """After `sinks` tokens come partitions of `lag`; all but the last whole one and the rest keep int(ratio x lag).

    Attributes:
        copies: each thinning concatenates the cache anew.
    """

    sinks: int
    lag: int
    ratio: float
    copies: bool = False
    by_head = True
    aligned = False

    @property
    def period(self) -> int:  # type: ignore[override]
        """A partition is thinned every `lag` tokens."""
        return self.lag

    def kept(self, prompt: int | Ints, context: Ints, kinds: tuple[LayerKind, ...]) -> Ints:
        """Thinned partitions at their share, everything else whole; the prompt's length does not matter."""
        thinned = np.maximum((context - self.sinks) // self.lag - 1, 0)
        return super().kept(prompt, context - thinned * (self.lag - int(self.ratio * self.lag)), kinds)

    def reserved(self, prompt: int | Ints, context: Ints, kinds: tuple[LayerKind, ...]) -> Ints:
        """At least what was there before the last thinning."""
        before = self.sinks + (context - self.sinks) // self.lag * self.lag - 1
        most = np.maximum(self.kept(prompt, context, kinds), self.kept(prompt, np.maximum(before, 0), kinds))
        found: Ints = np.where(context >= self.sinks + 2 * self.lag, most, self.kept(prompt, context, kinds))
        return found

    def end_ops(self, geo: Geometry, kind: LayerKind, end: End) -> list[Op]:
        """Minimum and maximum of each partition, spread of the one before it, top-k, and a gather of what stays."""
        work = end.prompt * (6.0 * sum(kind.heads) * (geo.key_dim + geo.value_dim))
        return [
            elementwise("lag_scores", 2 * end.kv_bytes, 5, end.due(kind), work),
            elementwise("gather_kept", 2 * end.kept_bytes, 2, end.due(kind)),
        ]

    def decode_ops(self, geo: Geometry, kind: LayerKind, sums: Decode) -> list[Op]:
        """Every `lag` steps two partitions are read and one is thinned; spread evenly over the steps between."""
        rows = 2.0 * (geo.key_dim + geo.value_dim) * sum(kind.heads) * (2 + self.ratio)
        ops = [elementwise("lag_scores", sums.sequences * rows, 6 / self.lag, kind.layers)]
        if self.copies:
            ops.append(elementwise("evict_copy", sums.kv_bytes * (2 / self.lag), 3 / self.lag, kind.layers))
        return ops
