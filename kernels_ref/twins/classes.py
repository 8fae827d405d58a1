"""Token classes by importance: MiKV keeps tokens that matter less at fewer bits, with balanced channels."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from kernels_ref.twins.attention import Attended
from kernels_ref.twins.encoding import Plain
from kernels_ref.twins.part import Setting, part, part_of
from kernels_ref.twins.retention import AllStay, all_of
from kernels_ref.twins.slots import Slots, best
from kernels_ref.twins.states import LayerStates, States
from kvsim.traits.classes import ByClass, Importance
from kvsim.traits.profile import Figure


@part_of(ByClass)
class OfClasses(Plain):
    """A quantizer for each class: the basis asks for each of them."""

    def measure(self, states: States) -> Mapping[str, Figure]:
        """Of all."""
        found: dict[str, Figure] = {}
        for one in self.trait.each:
            found |= part(one, self.setting).measure(states)
        return found


@part_of(Importance)
class ByImportance(AllStay):
    """MiKV (arXiv:2402.18096, section 3): class 0 are the newest tokens and those of most attention so far; a token
    that was demoted to class 1 stays there.

    Keys are multiplied by sqrt(max |q| / max |k|) of their channel before they are coded, maxima being the prompt's,
    and divided by it as they are read (the paper divides queries: the products are the same).
    """

    stepwise = True

    def __init__(self, trait: Importance, setting: Setting) -> None:
        super().__init__(trait, setting)
        self.scorer = part(trait.scorer, setting)
        self.balancer: list[Tensor] = []  # fp16 [Hk, 1, D] by layer

    def end(self, states: States) -> list[Slots]:
        """Both classes of each layer's tokens."""
        self.scorer.prepare(states)
        self.balancer = [balancer(layer) for layer in states.layers]
        found = []
        for i, layer in enumerate(states.layers):
            slots = all_of(layer, states.first).with_extra(**self.scorer.extra(i, layer))
            found.append(self._sorted(i, slots, self.scorer.rank(i, slots, layer), len(states)))
        return found

    def grown(self, layer: int, slots: Slots, new: LayerStates, seen: Attended, context: int) -> Slots:
        """The new token is important; another may no longer be."""
        slots = self.scorer.stepped(layer, slots, new, seen)
        return self._sorted(layer, slots, self.scorer.rank(layer, slots, None), context)

    def _sorted(self, layer: int, slots: Slots, rank: Tensor, context: int) -> Slots:
        many = self.setting.counts(layer, context)[0].to(rank.device)
        newest = (self.trait.recent * many).long()[:, None]
        rank = torch.where(slots.position >= context - newest, torch.inf, rank)
        stay = best(rank, many, slots.valid & (slots.kind == 0))
        kind = torch.ones(stay.shape[0], rank.shape[1] + 1, dtype=torch.int64, device=rank.device)
        kind = kind.scatter(1, torch.where(stay >= 0, stay, rank.shape[1]), 0)[:, :-1]
        return replace(slots, kind=kind)

    def coded(self, layer: int, slots: Slots) -> Slots:
        """Balanced keys."""
        return replace(slots, key=slots.key * self.balancer[layer].float())

    def decoded(self, layer: int, slots: Slots) -> Slots:
        """Keys as the model's queries need them."""
        return replace(slots, key=slots.key / self.balancer[layer].float())

    def held(self, layer: int, slots: Slots) -> list[Tensor]:
        """The scorer's, and the balancer."""
        return [*self.scorer.held(layer, slots), self.balancer[layer]]


def balancer(layer: LayerStates) -> Tensor:
    """fp16 [Hk, 1, D]: sqrt(max |q| / max |k|) of each channel, over positions and the query heads of a kv head."""
    heads, _, dim = layer.keys.shape
    queries = layer.queries.abs().amax(1).reshape(heads, -1, dim).amax(1, keepdim=True)
    keys = layer.keys.abs().amax(1, keepdim=True)
    return (queries.clamp(min=1e-4) / keys.clamp(min=1e-4)).sqrt().half()
