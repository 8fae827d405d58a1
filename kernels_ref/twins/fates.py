"""Fates: what becomes of tokens that do not stay."""

from torch import Tensor

from kernels_ref.twins.part import Part, part_of
from kernels_ref.twins.slots import Slots, best
from kernels_ref.twins.states import States
from kvsim.traits.fates import Fate


@part_of(Fate)
class Dropped(Part):
    """They are gone: the null fate, and what others override."""

    def prepare(self, states: States) -> None:
        """Before the first eviction, which is at the end of the prompt whose states these are."""

    def chosen(self, slots: Slots, rank: Tensor, many: Tensor, at_decode: bool) -> Tensor:
        """[Hk, M]: the `many` [Hk] slots of each head that stay, rising, -1 behind the last: those of highest rank."""
        return best(rank, many, slots.valid)

    def beside(self, layer: int, queries: Tensor) -> tuple[Tensor, Tensor] | None:
        """What stands for dropped tokens in attention beside the slots, as `attend` takes it."""
        return None

    def taken(self, layer: int, slots: Slots, stay: Tensor, at_decode: bool) -> Slots:
        """Slots `stay` [Hk, M] (-1 behind a head's last), with what the others leave to them."""
        return slots.take(stay)
