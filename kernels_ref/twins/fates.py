"""Fates: what becomes of tokens that do not stay."""

from torch import Tensor

from kernels_ref.twins.part import Part, part_of
from kernels_ref.twins.slots import Slots
from kvsim.traits.fates import Fate


@part_of(Fate)
class Dropped(Part):
    """They are gone: the null fate, and what others override."""

    def taken(self, layer: int, slots: Slots, stay: Tensor, at_decode: bool) -> Slots:
        """Slots `stay` [Hk, M] (-1 behind a head's last), with what the others leave to them."""
        return slots.take(stay)
