"""The prompt's tokens and generated ones, as two classes."""

from dataclasses import replace

import torch

from kernels_ref.twins.attention import Attended
from kernels_ref.twins.part import part_of
from kernels_ref.twins.retention import AllStay
from kernels_ref.twins.slots import Slots
from kernels_ref.twins.states import LayerStates
from kvsim.traits.classes import Phases


@part_of(Phases)
class ByPhase(AllStay):
    """All tokens stay; those that came after the prompt are of class 1."""

    def grown(self, layer: int, slots: Slots, new: LayerStates, seen: Attended, context: int) -> Slots:
        """The new ones are marked."""
        return replace(slots, kind=torch.where(slots.position < self.setting.prompt, 0, 1))
