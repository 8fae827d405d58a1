"""ReKV's side of the cache: all of it stays."""

from kernels_ref.twins.part import part_of
from kernels_ref.twins.retention import AllStay
from kvsim.traits.frames import WindowedReading


@part_of(WindowedReading)
class ReadInAWindow(AllStay):
    """ReKV (arXiv:2503.00540): every token stays; a prompt within the window is read as by the model itself."""

    def notes(self) -> tuple[str, ...]:
        """Longer ones are not: the states given are of full attention."""
        if self.setting.prompt <= self.trait.window:
            return ()
        return (f"ReKV: the prompt was read with full attention, not under a window of {self.trait.window}",)
