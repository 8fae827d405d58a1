"""Eviction to a budget: the cost side says how many tokens stay in each layer and head, the scorer says which."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from kernels_ref.twins.attention import Attended
from kernels_ref.twins.part import Part, Setting, part, part_of
from kernels_ref.twins.retention import AllStay, all_of
from kernels_ref.twins.slots import Slots
from kernels_ref.twins.states import LayerStates, States
from kvsim.traits.budgeted import Budgeted
from kvsim.traits.budgets import Budget
from kvsim.traits.draft import PromptCut
from kvsim.traits.profile import Figure


@part_of(Budget)
class Even(Part):
    """The same for every head: the null allocator, and what others override."""

    def prepare(self, states: States) -> None:
        """The prompt is complete: which layers and heads get more."""

    def ranked(self, layer: int, slots: Slots, rank: Tensor, context: int) -> Tensor:
        """The scorer's rank [Hk, N], with what a head's budget says about certain tokens."""
        return rank

    def counts(self, layer: int, counts: Tensor) -> Tensor:
        """The cost side's tokens by head [Hk], listed by group, for the heads that they are meant for."""
        return counts


@part_of(Budgeted, PromptCut)
class Evicting(AllStay):
    """Budget x scorer x fate, at the prompt's end and every so many steps.

    Of a prompt that was cut before it was read (SpecPC), all that was read fits.
    """

    def __init__(self, trait: Budgeted, setting: Setting) -> None:
        super().__init__(trait, setting)
        self.stepwise = trait.every > 0
        self.budget, self.scorer, self.fate = (part(x, setting) for x in (trait.budget, trait.scorer, trait.fate))

    def measure(self, states: States) -> Mapping[str, Figure]:
        """Of its three parts."""
        found: dict[str, Figure] = {}
        for one in (self.budget, self.scorer, self.fate):
            found |= one.measure(states)
        return found

    def end(self, states: States) -> list[Slots]:
        """The best of each layer's tokens."""
        for one in (self.budget, self.scorer, self.fate):
            one.prepare(states)
        return [self.end_of(i, states) for i in range(len(states.layers))]

    def end_of(self, i: int, states: States) -> Slots:
        """Of one layer."""
        layer = states.layers[i]
        slots = all_of(layer, states.first).with_extra(**self.scorer.extra(i, layer))
        rank = self.scorer.rank(i, slots, layer)
        newest = max(self._recent(len(states)), self.scorer.window(len(states)))
        return self._cut(i, slots, rank, len(states), newest, at_decode=False)

    def grown(self, layer: int, slots: Slots, new: LayerStates, seen: Attended, context: int) -> Slots:
        """What the step changes about ranks, then an eviction if one is due."""
        slots = self.scorer.stepped(layer, slots, new, seen)
        if not self.stepwise:
            return _marked(slots, new.keys.shape[1]) if self.trait.by_phase else slots
        if (slots.counts.cpu() <= self._kept(layer, context)).all():
            return slots
        rank = self.scorer.rank(layer, slots, None)
        return self._cut(layer, slots, rank, context, self._recent(self.setting.prompt), at_decode=True)

    def beside(self, layer: int, queries: Tensor) -> tuple[Tensor, Tensor] | None:
        """The fate's."""
        return self.fate.beside(layer, queries)  # type: ignore[no-any-return]

    def outlives(self, layer: int, slots: Slots, new: LayerStates, context: int) -> Tensor | None:
        """Those that this step leaves, where the scorer needs no attention to choose."""
        if not (self.stepwise and self.scorer.early):
            return None
        nothing = Attended(new.queries.new_zeros(new.queries.shape[0], 1, slots.position.shape[1]), slots.position)
        left = self.grown(layer, slots, new, nothing, context).position
        stays = torch.zeros(len(left), context + 1, dtype=torch.bool, device=left.device)
        stays.scatter_(1, torch.where(left < 0, context, left), True)
        return stays.gather(1, slots.position.clamp(min=0))[:, None]

    def _kept(self, layer: int, context: int) -> Tensor:
        """[Hk]: tokens that stay, without those that a fate adds."""
        counts = self.setting.counts(layer, context).sum(0)
        more = self.trait.fate.more_tokens
        counts = torch.where(counts < context, counts - more, counts) if more else counts
        return self.budget.counts(layer, counts)  # type: ignore[no-any-return]

    def _recent(self, prompt: int) -> int:
        """Newest tokens that always stay: as set, or H2O's second share."""
        parts = self.trait.budget.parts
        second = max(1, int(parts[1] * prompt)) if len(parts) == 2 else 0
        return int(max(self.trait.recent, second))

    def _cut(self, layer: int, slots: Slots, rank: Tensor, context: int, newest: int, at_decode: bool) -> Slots:
        many = self._kept(layer, context).to(rank.device)
        at = slots.position
        rank = self.budget.ranked(layer, slots, rank, context)
        rank = torch.where(at < self.trait.sinks, torch.inf, rank)
        age = context - at.double()  # of the newest that stay, the newest go last
        rank = torch.where(at >= context - newest, 1e30 / age, rank.double())
        stay = self.fate.chosen(slots, rank, many, at_decode)
        return self.fate.taken(layer, slots, stay, at_decode)  # type: ignore[no-any-return]

    def held(self, layer: int, slots: Slots) -> list[Any]:
        """Of scorer and fate."""
        return [*self.scorer.held(layer, slots), *self.fate.held(layer, slots)]


def _marked(slots: Slots, new: int) -> Slots:
    """With the last `new` slots as class 1."""
    kind = slots.kind.clone()
    kind[:, -new:] = 1
    return replace(slots, kind=kind)
