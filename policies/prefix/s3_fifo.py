"""FIFO queues are all you need for cache eviction. SOSP 2023, Yang et al., Thesys-lab/sosp23-s3fifo.

New runs enter a small queue. Its oldest run goes on to the main queue if it was used often enough meanwhile, and is
given up otherwise, leaving a ghost. A ghost that returns enters the main queue at once. The main queue's oldest run
enters it again, its count one lower, until one with a count of 0 comes up. Runs keep their places while they are used.
Where the paper gives up an object and then takes one in, a prompt's blocks are taken in first.
"""

from collections import OrderedDict
from dataclasses import dataclass

from kvsim.traits.eviction import Eviction, Future, Order
from kvsim.traits.policy import require

_MOST = 3  # counts have two bits


class _Order(Order):
    """`small` and `main` hold names, oldest first, also of runs in use; sizes count idle blocks."""

    def __init__(self, small_blocks: float, ghost_blocks: float, uses: int) -> None:
        super().__init__()
        self._small_blocks, self._ghost_blocks, self._enough = small_blocks, ghost_blocks, uses
        self.small: OrderedDict[int, None] = OrderedDict()
        self.main: OrderedDict[int, None] = OrderedDict()
        self._idle_small = self._idle_main = 0
        self._new = 0  # blocks of the small queue that came with the present request
        self._uses: dict[int, int] = {}  # by name, of what is cached
        self._ghosts: OrderedDict[int, int] = OrderedDict()
        self._ghosted = 0

    def turn(self, session: int, request: int) -> None:
        self._new = 0

    def hold(self, name: int) -> int:
        self._uses[name] = min(_MOST, self._uses[name] + 1)
        return self._take(name)

    def forget(self, name: int) -> int:
        blocks = self._take(name)
        self._leave(name)
        return blocks

    def free(self, name: int, blocks: int) -> None:
        if name not in self._uses:
            self._uses[name] = 0
            if name in self._ghosts:
                self.main[name] = None
            else:
                self.small[name] = None
                self._new += blocks
        if name in self._ghosts:
            self._ghosted -= self._ghosts.pop(name)
        self.idle[name] = self.idle.get(name, 0) + blocks
        self._add(name, blocks)

    def victim(self) -> int:
        full = self._idle_small - self._new >= self._small_blocks
        found = self._from_small(self._new) if full or not self._idle_main else None
        if found is None and not self._idle_main:
            found = self._from_small(0)
        return self._from_main() if found is None else found

    def given_up(self, name: int, blocks: int, whole: bool) -> None:
        self._add(name, -blocks)
        if name in self.small:
            self._ghosts[name] = self._ghosts.pop(name, 0) + blocks
            self._ghosted += blocks
            while self._ghosted > self._ghost_blocks:
                self._ghosted -= self._ghosts.popitem(last=False)[1]
        if whole:
            self._leave(name)

    def _from_small(self, spared: int) -> int | None:
        """The oldest idle run of the small queue that may go; None when all but `spared` blocks have moved on."""
        idle = self.idle
        while self._idle_small > spared:
            name = next(iter(self.small))
            if name in idle and self._uses[name] < self._enough:
                return name
            blocks = idle.get(name, 0)
            self._add(name, -blocks)
            del self.small[name]
            self.main[name] = None
            self._uses[name] = 0
            self._add(name, blocks)
        return None

    def _from_main(self) -> int:
        idle, uses = self.idle, self._uses
        while True:
            name = next(iter(self.main))
            if name in idle and not uses[name]:
                return name
            uses[name] = max(0, uses[name] - 1)
            self.main.move_to_end(name)

    def _take(self, name: int) -> int:
        blocks = self.idle.pop(name)
        self._add(name, -blocks)
        return blocks

    def _leave(self, name: int) -> None:
        del self._uses[name]
        del (self.small if name in self.small else self.main)[name]

    def _add(self, name: int, blocks: int) -> None:
        if name in self.small:
            self._idle_small += blocks
        else:
            self._idle_main += blocks


@dataclass(frozen=True)
class S3Fifo(Eviction):
    """small: share of the cache that new runs may fill (paper: 0.1). uses: that take a run to the main queue (2)."""

    small: float = 0.1
    uses: int = 2

    title = "S3-FIFO"
    source = "SOSP 2023"

    def __post_init__(self) -> None:
        require(0 < self.small < 1, f"small must be in (0, 1), but got {self.small}")
        require(1 <= self.uses <= _MOST, f"uses must be 1 to {_MOST}, but got {self.uses}")

    def order(self, capacity_blocks: int, future: Future | None = None) -> Order:
        return _Order(self.small * capacity_blocks, (1 - self.small) * capacity_blocks, self.uses)
