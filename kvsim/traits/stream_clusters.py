"""Stream clusters: keys are clustered as they come, values sampled by their norms (SubGen)."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.kernels import elementwise
from kvsim.cost.op import Op
from kvsim.traits.encoding import Parts, Quantizer
from kvsim.traits.retention import Ints, Retention
from kvsim.traits.trait import Decode, End

TURN = 0.4  # launches that a turn of a sequential kernel takes, about 1 us: loads, a reduction, a barrier (assumed)


@dataclass(frozen=True)
class StreamClusters(Retention):
    """Class 0: rows of the `recent` newest tokens and of `rows` sampled by their values' norms; class 1: keys alone.

    Those keys are a representative of each cluster and `samples` drawn from it: they estimate the softmax's sum, the
    rows its numerator. n older tokens form ceil(scale x n ^ exponent) clusters, from which the distance follows at
    which a key begins one; no token is stored twice.
    """

    recent: int
    rows: int
    samples: int
    scale: float
    exponent: float
    classes = 2
    by_head = True
    aligned = False

    def clusters(self, tokens: Any) -> Any:
        """Of so many older tokens."""
        return np.ceil(self.scale * np.maximum(tokens, 0) ** self.exponent)

    def kept(self, prompt: int | Ints, context: Ints, kinds: tuple[LayerKind, ...]) -> Ints:
        """By how many tokens were seen; the prompt's length does not matter."""
        older = np.maximum(context - self.recent - self.rows, 0)
        keys = np.minimum(self.clusters(older) * (1 + self.samples), older).astype(np.int64)
        both = np.stack([context - older, keys])
        return np.broadcast_to(both, (sum(len(kind.heads) for kind in kinds), *both.shape))

    def slot_bytes(self, geo: Geometry) -> int:
        """An fp32 weight: the size of a key's cluster, or the priority by which a row was drawn."""
        return 4

    def sequence_bytes(self, geo: Geometry) -> int:
        """The highest priority of a row that went, fp32, of each kv head."""
        return 4 * geo.model.layers * geo.kv_heads

    def more_launches(self, geo: Geometry, kind: LayerKind) -> float:
        """Sum and numerator are two kernels."""
        return 1.0

    def end_ops(self, geo: Geometry, kind: LayerKind, end: End) -> list[Op]:
        """Distances of each key to the representatives so far, one token after the other; all layers side by side."""
        heads, prompt = sum(kind.heads), np.asarray(end.prompt)
        pairs = prompt * self.clusters(prompt) / (1 + self.exponent)  # the clusters so far, summed over tokens
        work = pairs * (1.0 * heads * geo.key_dim)
        ops = [elementwise("cluster_stream", end.kv_bytes + end.kept_bytes, 1, kind.layers, work[()])]
        return [*ops, elementwise("take_turns", 0.0, TURN, end.prompt)] if kind.index[0] == 0 else ops

    def decode_ops(self, geo: Geometry, kind: LayerKind, sums: Decode) -> list[Op]:
        """The token that leaves the newest against representatives, and the reservoirs of keys and rows."""
        keys = sums.kept * (2.0 * geo.key_dim / (1 + self.samples))
        rows = sums.sequences * (sum(kind.heads) * 4.0 * (geo.key_dim + geo.value_dim))
        return [elementwise("cluster_token", keys + rows, 3, kind.layers, sums.kept * (1.0 * geo.key_dim))]


@dataclass(frozen=True)
class RowsAndKeys(Quantizer):
    """16 bits: whole rows of class 0, keys of class 1."""

    linear = False

    def of_class(self, index: int) -> Quantizer:
        """Of each class."""
        return KeysAlone() if index else self


@dataclass(frozen=True)
class KeysAlone(Quantizer):
    """16-bit keys without values."""

    def bytes(self, tokens: Ints, key_dim: int, value_dim: int) -> Parts:
        """Of keys."""
        none = np.zeros_like(tokens)
        return Parts(tokens * (2 * key_dim), none, none)
