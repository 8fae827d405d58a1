"""Selection: which of the kept tokens a step's queries read."""

from torch import Tensor

from kernels_ref.twins.attention import Attended
from kernels_ref.twins.part import Part, part_of
from kernels_ref.twins.slots import Slots
from kernels_ref.twins.states import States
from kvsim.traits.selection import Selection


@part_of(Selection)
class Everything(Part):
    """All of them: the null selection, and what others override. Of a block of tokens each query chooses for itself."""

    stepwise = False  # whether what is read depends on what the step before read: then tokens come one by one

    def prepare(self, states: States, slots: list[Slots]) -> None:
        """The prompt is complete: indices of what its layers keep."""

    def chosen(self, layer: int, queries: Tensor, slots: Slots) -> Tensor | None:
        """[H, Hk or 1, n, N]: slots that queries [H, n, D] read, or what is added to scores (-inf: unread); None: all.

        Layers come in order, so that what one chose can serve the next. A placement that chooses has the same method.
        """
        return None

    def seen(self, layer: int, seen: Attended) -> None:
        """What the queries saw of the slots they chose and of the tokens just read, which are the last."""
