"""Which cached blocks are given up first: what the papers in `policies/prefix` set, offline and in the engine.

A cache counts runs of blocks by name. A run is in use, or idle: only idle blocks can be given up, a run's last blocks
first, so that a leading part of it survives.
"""

from collections.abc import Callable
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Any

from kvsim import find
from kvsim.errors import UserError
from kvsim.traces.pieces import Pieces
from kvsim.traits.policy import parameters


@dataclass
class Future:
    """A sequence known in advance: use `p` is of name `pieces.names[p]`. `at`: the last use of each name so far."""

    pieces: Pieces
    at: dict[int, int]


class Order:
    """Idle runs, and the order in which they are given up. Mutable; one a cache.

    Attributes:
        idle: blocks by name, of runs that nobody uses.
        on_evict: told a victim and the blocks that it had, before it loses the last of them.
    """

    on_evict: Callable[[int, int], None] | None = None

    def __init__(self) -> None:
        self.idle: dict[int, int] = {}

    def turn(self, session: int, request: int) -> None:
        """The calls to `free` that follow are for this request; without sessions each is one of its own."""

    def hold(self, name: int) -> int:
        """An idle run is used again, and cannot be given up until it is freed: the blocks found."""
        raise NotImplementedError

    def free(self, name: int, blocks: int) -> None:
        """Blocks become idle, just used: a run that was held, or a new one. A prompt's runs come tail first."""
        raise NotImplementedError

    def forget(self, name: int) -> int:
        """An idle run is dropped without having been used: the blocks found."""
        return self.hold(name)

    def victim(self) -> int:
        """The idle run to give up next; there is at least one."""
        raise NotImplementedError

    def given_up(self, name: int, blocks: int, whole: bool) -> None:
        """`blocks` of a victim are gone; `whole`: no more of it is cached, and `idle` has it no longer."""

    def evict(self, blocks: int) -> None:
        """Give up this many idle blocks, a run's tail first. There are as many."""
        idle = self.idle
        while blocks > 0:
            name = self.victim()
            had = idle[name]
            if self.on_evict:
                self.on_evict(name, had)
            taken = min(had, blocks)
            if taken == had:
                del idle[name]
            else:
                idle[name] = had - taken
            self.given_up(name, taken, taken == had)
            blocks -= taken


class Ranked(Order):
    """Gives up the lowest rank first; a run is ranked anew whenever it is freed. Ranks are unique."""

    def __init__(self) -> None:
        super().__init__()
        self._rank: dict[int, Any] = {}
        self._heap: list[tuple[Any, int]] = []  # stale entries stay until they come up

    def rank(self, name: int) -> Any:
        """Of a run that is freed now; lower goes first."""
        raise NotImplementedError

    def hold(self, name: int) -> int:
        del self._rank[name]
        return self.idle.pop(name)

    def free(self, name: int, blocks: int) -> None:
        idle, heap = self.idle, self._heap
        idle[name] = idle.get(name, 0) + blocks
        self._rank[name] = rank = self.rank(name)
        heappush(heap, (rank, name))
        if len(heap) > 1000 + 4 * len(idle):
            heap[:] = [(rank, name) for name, rank in self._rank.items()]
            heapify(heap)

    def victim(self) -> int:
        heap, ranks = self._heap, self._rank
        while ranks.get(heap[0][1]) != heap[0][0]:
            heappop(heap)
        return heap[0][1]

    def given_up(self, name: int, blocks: int, whole: bool) -> None:
        if whole:
            del self._rank[name]


class Eviction:
    """Base of the classes in `policies/prefix`: a frozen dataclass of parameters that names its source.

    Attributes:
        knows_future: it is told which request uses what, and so exists offline only.
        needs_sessions: it goes by which requests are one conversation.
    """

    title: str
    source: str
    knows_future = False
    needs_sessions = False

    def order(self, capacity_blocks: int, future: Future | None = None) -> Order:
        """A cache's order of eviction. `future` is given to those that know it."""
        raise NotImplementedError


def eviction(text: str) -> Eviction:
    """The order of eviction that `text` names: `lru`, `succinct:accuracy=0.9`.

    Raises:
        UserError: unknown name or parameter; a value out of range.
    """
    name, *pairs = text.strip().split(":")
    kind = find.paper("eviction", "prefix", name)
    return parameters(kind, pairs, f"eviction {name!r}")  # type: ignore[no-any-return]


def online(text: str) -> Eviction:
    """As `eviction`, for an engine, which does not know the future.

    Raises:
        UserError: also for one that needs to.
    """
    found = eviction(text)
    if found.knows_future:
        names = [name for name in find.paper_names("prefix") if not find.paper("", "prefix", name).knows_future]
        raise UserError(
            f"eviction {text!r} must know the future, which an engine does not: take one of {', '.join(names)}, "
            "or `kvsim trace stats --cache`"
        )
    return found
