"""Budgets that differ between kv heads: heads sorted into rules, or ranked by importance."""

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cache

import numpy as np

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.traits.budgets import ALL, Budget, Ints
from kvsim.traits.profile import EVEN, Figure


@dataclass(frozen=True)
class Rule:
    """Tokens that a head keeps: the first `sinks`, and of the others `share` x prompt, at least `least`."""

    share: float = 0.0
    least: int = 0
    sinks: int = 0
    everything: bool = False

    def of(self, prompt: Ints) -> Ints:
        """Tokens for prompts."""
        if self.everything:
            return np.full(np.shape(prompt), ALL, np.int64)
        part = np.floor(np.asarray(prompt) * self.share).astype(np.int64)
        kept: Ints = np.maximum(part, self.least) + self.sinks
        return kept


@dataclass(frozen=True)
class HeadRules(Budget):
    """Each head follows one of `rules`; `figure` says which share of the heads follows each, in the same order.

    A figure of several rows says it of layers by relative depth. A chip has whole heads: the first rules round up, so
    that the chip with most tokens is the one that is shown.
    `recovery`: attention that a head's rule must keep, by which heads are sorted (0: they are sorted offline).
    """

    rules: tuple[Rule, ...] = (Rule(everything=True),)
    figure: Figure = EVEN
    recovery: float = 0.0
    by_head = True

    def counts(self, heads: int, layer: int, many: int) -> tuple[int, ...]:
        """Of a chip's heads in a layer of `many`, those that follow each rule."""
        row = self.figure.by_layer(many)[layer]
        total, found, upto = sum(row), list[int](), 0.0
        for share in row:
            upto += share / total
            found.append(min(heads, int(np.ceil(upto * heads - 1e-9))) - sum(found))
        return tuple(found)

    def heads(self, geo: Geometry, layer: int) -> tuple[int, ...]:
        """By rule, those without heads left out."""
        return tuple(many for many in self.counts(geo.kv_heads, layer, geo.model.layers) if many)

    def label(self, geo: Geometry, layer: int) -> Hashable:
        """As the layer's heads follow rules."""
        return self.counts(geo.kv_heads, layer, geo.model.layers)

    def alike(self, prompt: int) -> Hashable:
        """Rules depend on the prompt."""
        return prompt

    def of(self, prompt: Ints, kinds: tuple[LayerKind, ...]) -> Ints:
        """Tokens [G, ...]."""
        found, layers = [], sum(kind.layers for kind in kinds)
        for kind in kinds:
            counts = self.counts(sum(kind.heads), kind.index[0], layers)
            used = [rule for rule, many in zip(self.rules, counts, strict=True) if many]
            found += [rule.of(prompt) for rule in used[: len(kind.heads)]]
        return np.stack(found)


@dataclass(frozen=True)
class HeadShares(Budget):
    """Each head has a floor and a part of a pool that all heads share by importance (HeadKV).

    Of `tokens` on average, `window` are the observation window; (tokens - window) / beta of a head go into the pool.
    `figure`: importances by rank of the head in its layer, the most important first, and by relative depth where it has
    several rows: the pool is one for all layers.
    """

    window: int = 32
    beta: float = 1.2
    figure: Figure = EVEN
    by_head = True

    def heads(self, geo: Geometry, layer: int) -> tuple[int, ...]:
        """Each its own group."""
        return (1,) * geo.kv_heads

    def label(self, geo: Geometry, layer: int) -> Hashable:
        """Each layer its own, if the figure knows layers."""
        return layer if self.figure.rows > 1 else None

    def alike(self, prompt: int) -> Hashable:
        """Above the largest head's budget, prompts are cut alike."""
        most = self.tokens * (1 + max(self.figure.values) / self.figure.mean)
        return -1 if prompt > most else prompt

    def of(self, prompt: Ints, kinds: tuple[LayerKind, ...]) -> Ints:
        """Tokens [G, ...]: base - pool + share x pool + window."""
        found = []
        base = self.tokens - self.window
        pool = int(base / self.beta)
        layers = sum(kind.layers for kind in kinds)
        for kind in kinds:
            parts = _shares(self.figure, layers, len(kind.heads))[kind.index[0]]
            found += [np.full(np.shape(prompt), base - pool + int(part * pool) + self.window) for part in parts]
        return np.stack(found)


@cache
def _shares(figure: Figure, layers: int, heads: int) -> tuple[tuple[float, ...], ...]:
    """Importances of `heads` heads in each of `layers`, of mean 1 over all."""
    rows = [Figure(row).over(heads) for row in figure.by_layer(layers)]
    mean = sum(map(sum, rows)) / (layers * heads)
    return tuple(tuple(value / mean for value in row) for row in rows)
