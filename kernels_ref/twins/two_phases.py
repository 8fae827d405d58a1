"""SCOPE: the prompt's cache is cut once, generated tokens have a budget of their own (arXiv:2412.13649)."""

from typing import Any

import torch

from kernels_ref.twins.attention import Attended, by_kv_head
from kernels_ref.twins.part import Setting, part, part_of
from kernels_ref.twins.retention import AllStay, all_of
from kernels_ref.twins.slots import Slots, best
from kernels_ref.twins.states import LayerStates, States
from kvsim.traits.two_phases import TwoPhases


@part_of(TwoPhases)
class Phases(AllStay):
    """Of generated tokens the `recent` newest stay, and of the others those that the newest query attends to most."""

    stepwise = True

    def __init__(self, trait: Any, setting: Setting) -> None:
        super().__init__(trait, setting)
        self.scorer = part(trait.scorer, setting)

    def end(self, states: States) -> list[Slots]:
        """Votes, as in SnapKV."""
        found = []
        for i, layer in enumerate(states.layers):
            slots = all_of(layer, states.first)
            rank = self.scorer.rank(i, slots, layer)
            rank = torch.where(slots.position >= len(states) - self.scorer.window(len(states)), torch.inf, rank)
            found.append(
                slots.take(best(rank, self.setting.counts(i, len(states)).sum(0).to(rank.device), slots.valid))
            )
        return found

    def grown(self, layer: int, slots: Slots, new: LayerStates, seen: Attended, context: int) -> Slots:
        """One goes, or a block of them where the choice is discontinuous, once there are more than the budget."""
        many = self.setting.counts(layer, context).sum(0).to(slots.position.device)
        if (slots.counts <= many).all():
            return slots
        rank = by_kv_head(seen.probabilities[:, -1], slots.position.shape[0]).double()
        at = slots.position
        rank = torch.where(at >= context - self.trait.recent, 1e30 / (context - at.double()), rank)
        return slots.take(best(torch.where(at < self.setting.prompt, torch.inf, rank), many, slots.valid))
