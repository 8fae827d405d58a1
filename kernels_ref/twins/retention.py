"""Retention: which tokens stay at a prompt's end and at each step. All of them, or sinks and a window."""

import torch
from torch import Tensor

from kernels_ref.twins.attention import Attended
from kernels_ref.twins.part import Part, part_of
from kernels_ref.twins.slots import Slots
from kernels_ref.twins.states import LayerStates, States
from kvsim.traits.retention import Retention, SinksAndWindow


def all_of(layer: LayerStates, first: int = 0) -> Slots:
    """Every position that reached the layer as a slot."""
    at = torch.arange(layer.keys.shape[1], device=layer.keys.device) if layer.position is None else layer.position
    at = at + first
    return Slots.of(at, layer.keys, layer.values)


@part_of(Retention)
class AllStay(Part):
    """Every token stays: the null retention, and what others override."""

    stepwise = False  # whether what stays depends on each step's attention: then tokens come one by one

    def end(self, states: States) -> list[Slots]:
        """Each layer's slots when the prompt is complete."""
        return [all_of(layer, states.first) for layer in states.layers]

    def visible(self, queries: Tensor, slots: Slots) -> Tensor | None:
        """[Hk or 1, n, N]: slots that queries at positions [n] may see, where fewer than what is kept; None for all."""
        return None

    def coded(self, layer: int, slots: Slots) -> Slots:
        """Slots with rows as they go to the encoding, where a method changes them first."""
        return slots

    def decoded(self, layer: int, slots: Slots) -> Slots:
        """Slots with rows as attention takes them, from those that the encoding gives back."""
        return slots

    def beside(self, layer: int, queries: Tensor) -> tuple[Tensor, Tensor] | None:
        """A term of attention beside the slots, as `attend` takes it: what a state of dropped tokens gives."""
        return None

    def outlives(self, layer: int, slots: Slots, new: LayerStates, context: int) -> Tensor | None:
        """[Hk, n, N]: slots that the new tokens' queries may see where layers or steps differ; None for all."""
        return None

    def grown(self, layer: int, slots: Slots, new: LayerStates, seen: Attended, context: int) -> Slots:
        """What stays of `slots`, whose last are the tokens just attended from; `context` were seen by now."""
        return slots


@part_of(SinksAndWindow)
class SinksAndNewest(AllStay):
    """StreamingLLM (arXiv:2309.17453): the first and the newest tokens. Keys stay rotated as they were read."""

    def end(self, states: States) -> list[Slots]:
        """Of the prompt."""
        return [self._cut(slots, len(states)) for slots in super().end(states)]

    def visible(self, queries: Tensor, slots: Slots) -> Tensor | None:
        """A window behind each query."""
        at, newest = slots.position[:, None], queries[None, :, None] - self.trait.window
        return (at < self.trait.sinks) | (at > newest)

    def grown(self, layer: int, slots: Slots, new: LayerStates, seen: Attended, context: int) -> Slots:
        """The window moves on."""
        return self._cut(slots, context)

    def _cut(self, slots: Slots, context: int) -> Slots:
        at = slots.position[0]
        stays = (at < self.trait.sinks) | (at >= context - self.trait.window)
        return slots.take(stays.nonzero()[:, 0].expand(slots.position.shape[0], -1))
