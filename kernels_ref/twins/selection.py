"""Selection: which of the kept tokens a step's queries read."""

from torch import Tensor

from kernels_ref.twins.part import Part, part_of
from kernels_ref.twins.slots import Slots
from kernels_ref.twins.states import States
from kvsim.traits.selection import Selection


@part_of(Selection)
class Everything(Part):
    """All of them: the null selection, and what others override. Of a block of tokens each query chooses for itself."""

    def prepare(self, states: States, slots: list[Slots]) -> None:
        """The prompt is complete: indices of what its layers keep."""

    def chosen(self, layer: int, queries: Tensor, slots: Slots) -> Tensor | None:
        """[H or Hk or 1, n, N]: slots that queries [H, n, D] read. None: all.

        Layers come in order, so that what one chose can serve the next.
        """
        return None
