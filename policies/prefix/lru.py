"""Least recently used first, as vLLM's block pool and most caches do it. vllm-project/vllm."""

from collections import OrderedDict
from dataclasses import dataclass

from kvsim.traits.eviction import Eviction, Future, Order


class _Queue(Order):
    """The idle runs themselves, least recently used first."""

    idle: OrderedDict[int, int]

    def __init__(self) -> None:
        self.idle = OrderedDict()

    def hold(self, name: int) -> int:
        return self.idle.pop(name)

    def free(self, name: int, blocks: int) -> None:
        idle = self.idle
        idle[name] = idle.pop(name, 0) + blocks

    def evict(self, blocks: int) -> None:
        idle, told = self.idle, self.on_evict
        while blocks > 0:
            name, had = next(iter(idle.items()))
            if told:
                told(name, had)
            if had > blocks:
                idle[name] = had - blocks
            else:
                del idle[name]
            blocks -= had


@dataclass(frozen=True)
class Lru(Eviction):
    """A queue; a run that is used goes to its end."""

    title = "Least recently used"
    source = "vllm-project/vllm"

    def order(self, capacity_blocks: int, future: Future | None = None) -> Order:
        return _Queue()
