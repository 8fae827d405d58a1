"""Eviction to a budget: tokens for each layer and head, a scorer, a cadence, and a fate of what goes."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.kernels import elementwise
from kvsim.cost.op import Op
from kvsim.traits.budgets import Budget
from kvsim.traits.fates import DROPPED, Fate
from kvsim.traits.retention import Retention
from kvsim.traits.scorers import POSITIONS, Scorer
from kvsim.traits.trait import Chunk, Decode, End

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Budgeted(Retention):
    """At the prompt's end each head keeps its budget; later tokens stay (every = 0), or are evicted to the budget.

    Attributes:
        sinks, recent: of a budget, the first and the newest tokens that always stay.
        every: decode steps between evictions; the cache grows in between, so bytes saw-tooth.
        limit: tokens that a prompt is read against at most, where its chunks are cut as they come; 0 for all.
        repeat_heads: the cache holds every query head (released codes that call repeat_kv before caching).
        copies: an eviction while decoding gathers the whole cache anew, instead of overwriting one slot.
        by_phase: generated tokens are a class of their own (1), encoded apart from the prompt's (0).
        copies_to_append: each step copies the cache to append a token (flat rows of unlike heads).
    """

    budget: Budget
    scorer: Scorer = POSITIONS
    fate: Fate = DROPPED
    sinks: int = 0
    recent: int = 0
    every: int = 0
    limit: int = 0
    repeat_heads: bool = False
    copies: bool = False
    copies_to_append: bool = False
    by_phase: bool = False
    aligned = False

    @property
    def by_head(self) -> bool:  # type: ignore[override]
        """As its scorer chooses, or as its budgets differ."""
        return self.scorer.by_head or self.budget.by_head

    def slot_bytes(self, geo: Geometry) -> int:
        """Of scorer and fate."""
        return self.scorer.slot_bytes(geo) + self.fate.slot_bytes(geo)

    @property
    def classes(self) -> int:  # type: ignore[override]
        """One, or prompt and generated tokens."""
        return 2 if self.by_phase else 1

    @property
    def period(self) -> int:  # type: ignore[override]
        """Evictions come every so many steps."""
        return max(1, self.every)

    def label(self, geo: Geometry, layer: int) -> object:
        """As the budgets of layers differ."""
        return self.budget.label(geo, layer)

    def heads(self, geo: Geometry, layer: int) -> tuple[int, ...]:
        """By budget; every query head where the cache holds those."""
        heads = self.budget.heads(geo, layer)
        if not self.repeat_heads:
            return heads
        return tuple(h * geo.query_heads // geo.kv_heads for h in heads)

    def kept(self, prompt: int | Ints, context: Ints, kinds: tuple[LayerKind, ...]) -> Ints:
        """min(prompt, budget) and what came since, cut to the budget every so many steps; the fate's tokens on top."""
        return self._tokens(prompt, context, kinds, lambda over: over % self.every)

    def reserved(self, prompt: int | Ints, context: Ints, kinds: tuple[LayerKind, ...]) -> Ints:
        """The same, but that the cache stays as large as before an eviction."""
        return self._tokens(prompt, context, kinds, lambda over: np.minimum(over, self.every - 1))

    def _tokens(
        self, prompt: int | Ints, context: Ints, kinds: tuple[LayerKind, ...], beyond: Callable[[Ints], Ints]
    ) -> Ints:
        """`beyond`: of tokens beyond the budget, those that are there."""
        budget = self.budget.of(np.asarray(prompt), kinds)
        begun = np.minimum(prompt, budget)
        if budget.ndim == 1:
            budget, begun = budget[:, None], begun[:, None]
        kept = begun + (context - prompt)
        if self.every:
            over = kept - budget
            kept = np.where(over > 0, budget + beyond(over), kept)
        if self.fate.more_tokens:
            kept = kept + self.fate.more_tokens * (kept < context)
        if not self.by_phase:
            found: Ints = kept[:, None]
            return found
        made = np.broadcast_to(np.minimum(context - prompt, kept), kept.shape)
        return np.stack([kept - made, made], axis=1)

    @property
    def _uniform(self) -> bool:
        return (
            type(self.budget) is Budget
            and not (self.budget.parts or self.budget.whole or self.budget.above)
            and not self.fate.more_tokens
            and not self.by_phase
        )

    def start(self, prompt: int) -> int | None:
        """With one fixed budget a prompt goes on as if it had been cut to it before."""
        return min(prompt, self.budget.tokens) if self._uniform else None

    def alike(self, prompt: int) -> Hashable:
        """As the budget says; tokens that stand for dropped ones come with the first one dropped."""
        return (self.budget.alike(prompt), prompt) if self.fate.more_tokens else self.budget.alike(prompt)

    def prefill_limit(self, geo: Geometry, kind: LayerKind, group: int) -> int | None:
        """`limit`."""
        return self.limit or None

    def static_bytes(self, geo: Geometry) -> int:
        """Of scorer and fate."""
        return self.scorer.static_bytes(geo) + self.fate.static_bytes(geo)

    def sequence_bytes(self, geo: Geometry) -> int:
        """Of scorer and fate."""
        return self.scorer.sequence_bytes(geo) + self.fate.sequence_bytes(geo)

    def chunk_ops(self, geo: Geometry, kind: LayerKind, chunk: Chunk) -> list[Op]:
        """The scorer's."""
        return self.scorer.chunk_ops(geo, kind, chunk) + self.fate.chunk_ops(geo, kind, chunk)

    def end_ops(self, geo: Geometry, kind: LayerKind, end: End) -> list[Op]:
        """Scoring and the fate, then a gather of the kept rows, where anything goes at all."""
        gather = elementwise("gather_kept", 2 * end.kept_bytes, 2, end.due(kind))
        return [*self.scorer.end_ops(geo, kind, end), *self.fate.end_ops(geo, kind, end), gather]

    def decode_ops(self, geo: Geometry, kind: LayerKind, sums: Decode) -> list[Op]:
        """Scores and the fate each step, a copy of the cache at each eviction; spread evenly over the steps between."""
        if self.copies_to_append:
            return [elementwise("append_copy", 2 * sums.kv_bytes, 2, kind.layers)]
        if not self.every:
            return []
        ops = self.scorer.decode_ops(geo, kind, sums) + self.fate.decode_ops(geo, kind, sums)
        if self.copies or self.every > 1:  # a block of slots is freed: kept rows move together
            share = 1 / self.every
            ops.append(elementwise("evict_copy", 2 * sums.kv_bytes * share, 4 * share, kind.layers))
        return ops
