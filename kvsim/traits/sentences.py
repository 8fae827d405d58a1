"""Sentences: tokens are grouped as text is, and a step reads the sentences whose mean key is nearest (SentenceKV)."""

from dataclasses import dataclass

import numpy as np

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.kernels import elementwise, host_sync
from kvsim.cost.op import Op
from kvsim.traits.selection import Ints, Selection
from kvsim.traits.trait import Decode, End


@dataclass(frozen=True)
class Sentences(Selection):
    """A mean key for each sentence and kv head; a step reads the best sentences' tokens up to `budget`.

    Attributes:
        always: first and newest tokens that are read besides, from the chip.
        tokens: of a sentence, on average. misses: share of the budget that the step before had not chosen.
        loops: released code builds sentences head by head on the host, and sorts them there.
    """

    budget: int
    always: int
    tokens: float
    misses: float = 1.0
    loops: bool = False
    selects = True

    def read(self, kind: LayerKind, kept: Ints) -> Ints:
        """The budget and what is always read."""
        return np.minimum(kept, self.always + self.budget)

    def recalled(self, kind: LayerKind, read: Ints) -> Ints:
        """A share of the budget."""
        missed: Ints = np.ceil(np.maximum(read - self.always, 0) * self.misses).astype(np.int64)
        return missed

    def scanned(self, kind: LayerKind, kept: Ints) -> Ints:
        """Sentences."""
        found: Ints = np.ceil(kept / self.tokens).astype(np.int64)
        return found

    def index_bytes(self, geo: Geometry, kind: LayerKind, kept: Ints) -> Ints:
        """A 16-bit mean key, and where the sentence begins (int32)."""
        return self.scanned(kind, kept) * (2 * geo.key_dim + 4)

    def end_ops(self, geo: Geometry, kind: LayerKind, end: End) -> list[Op]:
        """Means of the kept keys; by the released code a sentence and head at a time, for each of which it waits."""
        keys = np.asarray(end.kept) * (2.0 * geo.key_dim)
        ops = [elementwise("mean_keys", keys[()], 2, kind.layers)]
        if self.loops:
            ops.append(host_sync("build_sentences", np.ceil(np.asarray(end.kept) / self.tokens)[()], kind.layers))
        return ops

    def decode_ops(self, geo: Geometry, kind: LayerKind, sums: Decode) -> list[Op]:
        """Scores of sentences, sorted; the new token enters its sentence's mean."""
        group = geo.queries_per_kv_head
        scores = sums.scanned * (4.0 * group)
        ops = [
            elementwise("score_sentences", sums.scanned * (2.0 * geo.key_dim) + scores, 1, kind.layers,
                        sums.scanned * (group * geo.key_dim)),
            elementwise("sort_sentences", 2 * scores, 1, kind.layers),
            elementwise("list_tokens", sums.tokens * 8.0, 1, kind.layers),
            elementwise("update_mean", sums.sequences * (sum(kind.heads) * 6.0 * geo.key_dim), 1, kind.layers),
        ]  # fmt: skip
        return [*ops, host_sync("sort_on_host", 1, kind.layers)] if self.loops else ops
