"""Sharing: what layers hold in common. It comes before encoding: shared rows are encoded once."""

from collections.abc import Callable

from torch import Tensor

from kernels_ref.twins.part import Part, part_of
from kernels_ref.twins.slots import Slots
from kernels_ref.twins.states import States
from kvsim.traits.sharing import Sharing

Encode = Callable[[int, Slots], tuple[Slots, list[Tensor]]]


@part_of(Sharing)
class Apart(Part):
    """Each layer for itself: the null sharing, and what others override."""

    def prepare(self, states: States, slots: list[Slots]) -> None:
        """The prompt is complete: which layers go together."""

    def holder(self, layer: int) -> int:
        """The layer whose slots a layer reads."""
        return layer

    def encoded(self, slots: list[Slots], encode: Encode) -> list[tuple[Slots, list[Tensor]]]:
        """For each layer its slots as read, and the tensors that it adds to what is stored."""
        return [encode(layer, one) for layer, one in enumerate(slots)]
