"""Placement: in which tier stored tensors rest."""

from torch import Tensor

from kernels_ref.twins.part import Part, part_of
from kernels_ref.twins.slots import Slots
from kvsim.traits.placement import HBM, Placement

Held = list[list[Tensor]]


def nbytes(layers: Held) -> int:
    """Of all tensors."""
    return sum(x.nbytes for layer in layers for x in layer)


@part_of(Placement)
class OnChip(Part):
    """In HBM: the null placement, and what others override. Each byte is counted once, where it rests: rows that a
    faster tier holds as well, and buffers that rows pass through, are not.
    """

    def chosen(self, layer: int, queries: Tensor, slots: Slots) -> Tensor | None:
        """As of a selection: where attention that runs elsewhere reads a part of the cache."""
        return None

    def rest(self, rows: Held, index: Held, slots: list[Slots]) -> dict[str, int]:
        """Bytes by tier: of rows with their metadata, and of a selection's index, by layer."""
        return {HBM: nbytes(rows) + nbytes(index)}
