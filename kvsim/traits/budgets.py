"""Budgets: how many tokens each layer and kv head may keep, from the length of the prompt.

An allocator answers [G, ...] for arrays of prompts [...]; a `Profile` figure says how a budget is spread where data
decides. Figures over layers are of relative depth, so that those of one model serve another.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.traits.profile import EVEN, Figure, shares

Ints = NDArray[np.int64]
ALL = 1 << 40  # more tokens than any request has


@dataclass(frozen=True)
class Budget:
    """A number of tokens and a share of the prompt: int(tokens + share x prompt) in every layer and head.

    Attributes:
        parts: shares of the prompt, each cut to whole tokens before they are added, as released codes do (of H2O's two
            the second is of the newest tokens).
        whole: layers that keep everything; negative numbers count from the last.
        above: prompts up to so many tokens stay whole.
    """

    tokens: int = 0
    parts: tuple[float, ...] = ()
    whole: tuple[int, ...] = ()
    above: int = 0
    by_head = False  # heads of a layer keep numbers of their own

    def mean(self, prompt: int) -> int:
        """`uniform` of one prompt."""
        return self.tokens + sum(max(1, int(part * prompt)) for part in self.parts)

    def alike(self, prompt: int) -> Hashable:
        """Prompts of one key are cut to the same tokens in every group."""
        mean = self.mean(prompt)
        return mean if prompt >= mean and prompt > self.above and not self.whole else (mean, prompt)

    def label(self, geo: Geometry, layer: int) -> Hashable:
        """What tells layers with other budgets apart."""
        return self.keeps_all(geo, layer)

    def keeps_all(self, geo: Geometry, layer: int) -> bool:
        """Whether a layer is one of `whole`."""
        return layer in self.whole or layer - geo.model.layers in self.whole

    def heads(self, geo: Geometry, layer: int) -> tuple[int, ...]:
        """Kv heads by group."""
        return (geo.kv_heads,)

    def of(self, prompt: Ints, kinds: tuple[LayerKind, ...]) -> Ints:
        """Tokens [G, ...] for prompts [...]."""
        groups = sum(len(kind.heads) for kind in kinds)
        return self.excepted(np.broadcast_to(self.uniform(prompt), (groups, *np.shape(prompt))), prompt, kinds)

    def excepted(self, tokens: Ints, prompt: Ints, kinds: tuple[LayerKind, ...]) -> Ints:
        """Budgets [G, ...] with `whole` and `above` taken into account."""
        if self.above:
            tokens = np.where(np.asarray(prompt) > self.above, tokens, np.maximum(tokens, self.above))
        if self.whole:
            many = sum(kind.layers for kind in kinds)
            layers = [kind.index[0] for kind in kinds for _ in kind.heads]
            free = [layer in self.whole or layer - many in self.whole for layer in layers]
            tokens = np.where(np.array(free).reshape(-1, *[1] * (tokens.ndim - 1)), ALL, tokens)
        return tokens

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

    `least`: tokens that no layer goes below, such as an observation window. `measure`: what the shares follow, for who
    measures them: CAKE's preference, ZigZagKV's uncertainty or D2O's density.
    """

    figure: Figure = EVEN
    least: int = 0
    measure: Literal["preference", "uncertainty", "density"] = "preference"

    def alike(self, prompt: int) -> Hashable:
        """Prompts above the largest layer's budget do not bound it; twice its share of the figure is surely above."""
        mean = self.mean(prompt)
        most = 2 * mean * max(self.figure.values) / self.figure.mean + self.least
        return mean if prompt >= most and not self.whole else (mean, prompt)

    def label(self, geo: Geometry, layer: int) -> Hashable:
        """Each layer has its own."""
        return layer

    def of(self, prompt: Ints, kinds: tuple[LayerKind, ...]) -> Ints:
        """Tokens [G, ...]: floor(share x (average - least)) + least."""
        mine = _spread(self.figure, kinds)
        pool = np.maximum(self.uniform(prompt) - self.least, 0)
        found: Ints = np.floor(mine.reshape(-1, *[1] * np.ndim(prompt)) * pool).astype(np.int64) + self.least
        return self.excepted(found, prompt, kinds)


@cache
def _spread(figure: Figure, kinds: tuple[LayerKind, ...]) -> NDArray[np.float64]:
    """A figure's shares, of mean 1 over all layers, by head group."""
    by_layer = shares(figure.over(sum(kind.layers for kind in kinds)))
    return np.array([by_layer[kind.index[0]] for kind in kinds for _ in kind.heads])


@dataclass(frozen=True)
class LowLayers(Budget):
    """SqueezeAttention: unimportant layers keep `low` x prompt, the others share what is left of `parts` x prompt each.

    `figure`: whether a layer is in the least important of three clusters (1) or not (0), over relative depth; one value
    alone is the share of such layers, taken as the last ones.
    """

    low: float = 0.25
    figure: Figure = EVEN

    def low_layers(self, many: int) -> tuple[bool, ...]:
        """Which of `many` layers are unimportant; at least one is not."""
        if len(self.figure.values) > 1:
            found = tuple(value >= 0.5 for value in self.figure.over(many))
            return found if not all(found) else (False, *found[1:])
        few = min(many - 1, round(self.figure.mean * many))
        return (False,) * (many - few) + (True,) * few

    def label(self, geo: Geometry, layer: int) -> Hashable:
        """Whether a layer is unimportant."""
        return self.low_layers(geo.model.layers)[layer]

    def of(self, prompt: Ints, kinds: tuple[LayerKind, ...]) -> Ints:
        """Tokens [G, ...]."""
        many = sum(kind.layers for kind in kinds)
        is_low = self.low_layers(many)
        few = sum(is_low)
        high = (many * sum(self.parts) - few * self.low) / (many - few)
        each = [self.low if is_low[kind.index[0]] else high for kind in kinds for _ in kind.heads]
        found = [np.maximum(1, np.floor(share * np.asarray(prompt)).astype(np.int64)) for share in each]
        return np.stack(found)

    def alike(self, prompt: int) -> Hashable:
        """Every prompt has its own budgets."""
        return prompt
