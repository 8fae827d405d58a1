"""First in, first out: what was cached first goes first, used since or not. sgl-project/sglang (FIFOStrategy)."""

from dataclasses import dataclass

from kvsim.traits.eviction import Eviction, Future, Order, Ranked


class _Arrivals(Ranked):
    """Ranks a run by when it was first freed since it is cached."""

    def __init__(self) -> None:
        super().__init__()
        self._since: dict[int, int] = {}
        self._now = 0

    def rank(self, name: int) -> int:
        self._now += 1
        return self._since.setdefault(name, self._now)

    def given_up(self, name: int, blocks: int, whole: bool) -> None:
        super().given_up(name, blocks, whole)
        if whole:
            del self._since[name]


@dataclass(frozen=True)
class Fifo(Eviction):
    """Oldest first; of one prompt, the tail before the head."""

    title = "First in, first out"
    source = "sgl-project/sglang"

    def order(self, capacity_blocks: int, future: Future | None = None) -> Order:
        return _Arrivals()
