"""ARC: A Self-Tuning, Low Overhead Replacement Cache. FAST 2003, Megiddo and Modha.

Two queues, least recently used first: runs used once, and runs used again. Each has ghosts: names of what it gave up
last. A ghost that returns shifts the target of the first queue by how many blocks it has, times the ratio of the
ghosts. Where the paper gives up a page and then takes one in, a prompt's blocks are taken in first.
"""

from collections import OrderedDict
from dataclasses import dataclass

from kvsim.traits.eviction import Eviction, Future, Order


class _Queue:
    """Runs by name, oldest first, and their blocks."""

    def __init__(self) -> None:
        self.runs: OrderedDict[int, int] = OrderedDict()
        self.blocks = 0

    def add(self, name: int, blocks: int) -> None:
        self.runs[name] = self.runs.pop(name, 0) + blocks
        self.blocks += blocks

    def remove(self, name: int) -> int:
        blocks = self.runs.pop(name, 0)
        self.blocks -= blocks
        return blocks

    def trim(self, excess: int) -> None:
        """Forget this many of the oldest blocks."""
        while excess > 0 and self.runs:
            name, blocks = next(iter(self.runs.items()))
            taken = min(blocks, excess)
            self.blocks -= taken
            excess -= taken
            if taken == blocks:
                del self.runs[name]
            else:
                self.runs[name] -= taken


class _Order(Order):
    """T1 and T2 of the paper are `once` and `again`, B1 and B2 their ghosts, p is `target`."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self._capacity, self.target = capacity, 0.0
        self.once, self.again, self.once_ghosts, self.again_ghosts = _Queue(), _Queue(), _Queue(), _Queue()
        self._held: set[int] = set()
        self._new = 0  # blocks of `once` that came with the present request
        self._returned = False  # the last run to come was a ghost of `again`

    def turn(self, session: int, request: int) -> None:
        self._new, self._returned = 0, False

    def hold(self, name: int) -> int:
        self._held.add(name)
        return self.forget(name)

    def forget(self, name: int) -> int:
        (self.once if name in self.once.runs else self.again).remove(name)
        return self.idle.pop(name)

    def free(self, name: int, blocks: int) -> None:
        if name in self._held or name in self.again.runs:
            self._held.discard(name)
            self.once_ghosts.remove(name)
            self.again_ghosts.remove(name)
            self.again.add(name, blocks)
        elif name in self.once_ghosts.runs:
            ratio = max(1.0, self.again_ghosts.blocks / self.once_ghosts.blocks)
            self.target = min(self._capacity, self.target + ratio * self.once_ghosts.remove(name))
            self.again.add(name, blocks)
        elif name in self.again_ghosts.runs:
            ratio = max(1.0, self.once_ghosts.blocks / self.again_ghosts.blocks)
            self.target = max(0.0, self.target - ratio * self.again_ghosts.remove(name))
            self.again.add(name, blocks)
            self._returned = True
        else:
            self.once.add(name, blocks)
            self._new += blocks
        self.idle[name] = self.idle.get(name, 0) + blocks
        self._trim()

    def victim(self) -> int:
        settled = self.once.blocks - self._new
        over = settled > self.target or (self._returned and settled == self.target)
        from_once = (settled > 0 and over) or not self.again.runs
        return next(iter((self.once if from_once else self.again).runs))

    def given_up(self, name: int, blocks: int, whole: bool) -> None:
        queue, ghosts = (self.once, self.once_ghosts) if name in self.once.runs else (self.again, self.again_ghosts)
        queue.blocks -= blocks
        if whole:
            del queue.runs[name]
        else:
            queue.runs[name] -= blocks
        ghosts.add(name, blocks)

    def evict(self, blocks: int) -> None:
        super().evict(blocks)
        self._trim()

    def _trim(self) -> None:
        """The first queue and its ghosts stay within the capacity, all four within twice of it.

        Blocks beyond the capacity are about to be given up, and make no ghost go before they do.
        """
        self.once_ghosts.trim(self.once.blocks + self.once_ghosts.blocks - self._capacity)
        cached = min(self.once.blocks + self.again.blocks, self._capacity)
        self.again_ghosts.trim(cached + self.once_ghosts.blocks + self.again_ghosts.blocks - 2 * self._capacity)


@dataclass(frozen=True)
class Arc(Eviction):
    """Recency against frequency, in shares that adapt."""

    title = "Adaptive replacement cache"
    source = "FAST 2003"

    def order(self, capacity_blocks: int, future: Future | None = None) -> Order:
        return _Order(capacity_blocks)
