"""Budgets: how many tokens each layer and kv head may keep, from the length of the prompt.

An allocator answers [G, ...] for arrays of prompts [...]; a `Profile` figure says how a budget is spread where data
decides. Figures over layers are of relative depth, so that those of one model serve another.
"""

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.traits.profile import EVEN, Figure, shares

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Budget:
    """A number of tokens and a share of the prompt: int(tokens + share x prompt) in every layer and head.

    `parts` are cut to whole tokens each before they are added, as released codes do (heavy hitters and recent ones).
    """

    tokens: int = 0
    parts: tuple[float, ...] = ()

    def mean(self, prompt: int) -> int:
        """`uniform` of one prompt."""
        return self.tokens + sum(max(1, int(part * prompt)) for part in self.parts)

    def alike(self, prompt: int) -> Hashable:
        """Prompts of one key are cut to the same tokens in every group."""
        mean = self.mean(prompt)
        return mean if prompt >= mean else (mean, prompt)

    def label(self, geo: Geometry, layer: int) -> Hashable:
        """What tells layers with other budgets apart."""
        return None

    def heads(self, geo: Geometry, layer: int) -> tuple[int, ...]:
        """Kv heads by group."""
        return (geo.kv_heads,)

    def of(self, prompt: Ints, kinds: tuple[LayerKind, ...]) -> Ints:
        """Tokens [G, ...] for prompts [...]."""
        groups = sum(len(kind.heads) for kind in kinds)
        return np.broadcast_to(self.uniform(prompt), (groups, *np.shape(prompt)))

    def uniform(self, prompt: Ints) -> Ints:
        """Tokens of an average group [...]."""
        total = np.full(np.shape(prompt), self.tokens, np.int64)
        for part in self.parts:
            total = total + np.maximum(1, np.floor(part * np.asarray(prompt)).astype(np.int64))
        return total


@dataclass(frozen=True)
class Pyramid(Budget):
    """PyramidKV: budgets fall linearly from the first layer to the last, around `tokens` with the window among them.

    Least: (tokens - window) // beta, most: 2 (tokens - window) - least, cut to the prompt; each plus the window. Where
    the prompt is shorter than twice the budget, all layers have the same (arXiv:2406.02069, KVCache-Factory).
    """

    window: int = 32
    beta: int = 20

    def alike(self, prompt: int) -> Hashable:
        """Prompts of twice the budget do not bound any layer."""
        return prompt if prompt < 2 * self.tokens else -1

    def label(self, geo: Geometry, layer: int) -> Hashable:
        """Each layer has its own."""
        return layer

    def _ends(self, prompt: Ints) -> tuple[Ints, Ints]:
        """(least, most) tokens beside the window."""
        mean = self.tokens - self.window
        least = np.full_like(prompt, mean // self.beta)
        most = 2 * mean - least
        room = np.maximum(prompt - self.window, 0)
        over = most > room
        most = np.where(over, room, most)
        return np.where(over, np.maximum(2 * mean - most, 0), least), most

    def of(self, prompt: Ints, kinds: tuple[LayerKind, ...]) -> Ints:
        """Tokens [G, ...]: the released code's whole steps between the ends."""
        prompt = np.asarray(prompt)
        many = sum(kind.layers for kind in kinds)
        least, most = self._ends(prompt)
        step = (most - least) // max(1, many - 1)
        layer = np.array([kind.index[0] for kind in kinds for _ in kind.heads]).reshape(-1, *[1] * prompt.ndim)
        falling = most - layer * step + self.window
        uniform = np.full_like(prompt, self.tokens)
        found: Ints = np.where(prompt < 2 * (self.tokens - self.window), uniform, falling)
        return found


@dataclass(frozen=True)
class LayerShares(Budget):
    """A total budget (`tokens` and `parts` on average a layer) spread over layers by a profile's shares.

    `least`: tokens that no layer goes below, such as an observation window.
    """

    figure: Figure = EVEN
    least: int = 0

    def alike(self, prompt: int) -> Hashable:
        """Prompts above the largest layer's budget do not bound it; twice its share of the figure is surely above."""
        mean = self.mean(prompt)
        most = 2 * mean * max(self.figure.values) / self.figure.mean + self.least
        return mean if prompt >= most else (mean, prompt)

    def label(self, geo: Geometry, layer: int) -> Hashable:
        """Each layer has its own."""
        return layer

    def of(self, prompt: Ints, kinds: tuple[LayerKind, ...]) -> Ints:
        """Tokens [G, ...]: floor(share x (average - least)) + least."""
        many = sum(kind.layers for kind in kinds)
        spread = np.array(shares(self.figure.over(many)))
        mine = np.array([spread[kind.index[0]] for kind in kinds for _ in kind.heads])
        pool = np.maximum(self.uniform(prompt) - self.least, 0)
        found: Ints = np.floor(mine.reshape(-1, *[1] * np.ndim(prompt)) * pool).astype(np.int64) + self.least
        return found
