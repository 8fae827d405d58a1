"""Least frequently used first, then least recently, counted while it is cached. sgl-project/sglang (LFUStrategy)."""

from dataclasses import dataclass

from kvsim.traits.eviction import Eviction, Future, Order, Ranked


class _Counts(Ranked):
    """Ranks a run by (uses since it is cached, last use)."""

    def __init__(self) -> None:
        super().__init__()
        self._uses: dict[int, int] = {}
        self._now = 0

    def rank(self, name: int) -> tuple[int, int]:
        self._now += 1
        self._uses[name] = uses = self._uses.get(name, 0) + 1
        return uses, self._now

    def given_up(self, name: int, blocks: int, whole: bool) -> None:
        super().given_up(name, blocks, whole)
        if whole:
            del self._uses[name]


@dataclass(frozen=True)
class Lfu(Eviction):
    """Fewest uses first."""

    title = "Least frequently used"
    source = "sgl-project/sglang"

    def order(self, capacity_blocks: int, future: Future | None = None) -> Order:
        return _Counts()
