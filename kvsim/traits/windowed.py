"""A prompt that is read under a sliding window, though all of its tokens stay: ReKV."""

from dataclasses import dataclass

from kvsim.cost.geometry import LayerKind
from kvsim.traits.retention import Retention


@dataclass(frozen=True)
class ReadInWindow(Retention):
    """Every token stays; while the prompt is read, each attends to the last `window`."""

    window: int

    def prefill_limit(self, kind: LayerKind, group: int) -> int | None:
        """The window; what has left it stays elsewhere, for which room is set aside at the prompt's end."""
        return self.window
