"""Placement: in which tier stored tensors rest."""

from torch import Tensor

from kernels_ref.twins.part import Part, part_of
from kernels_ref.twins.slots import Slots
from kvsim.traits.placement import HBM, Placement


@part_of(Placement)
class OnChip(Part):
    """In HBM: the null placement, and what others override."""

    def rest(self, rows: list[list[Tensor]], others: list[list[Tensor]], slots: list[Slots]) -> dict[str, int]:
        """Bytes by tier, of encoded rows and of other tensors by layer (the last entry is the sequence's own)."""
        return {HBM: sum(x.nbytes for layer in (*rows, *others) for x in layer)}
