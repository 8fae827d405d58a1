"""Prefix caching by block hash, as vLLM's block pool does it, counted in runs of blocks.

A run is what one id of the trace covers (512 tokens are 32 blocks of 16), or all blocks of a sequence that no trace id
names. A block is held while a sequence uses it; a freed one keeps its hash and is idle until allocation gives it up,
in the order of a policy in `policies/prefix`. vLLM's is `lru`, a sequence's tail before its head. A run's last blocks
go first, so of a run only a leading part survives. Orders but `lru` count a run as one, whenever its blocks came.
"""

from collections.abc import Callable, Iterable, Sequence

from kvsim.traits.eviction import Order, eviction

Run = tuple[int, int]  # (id, blocks)
NAMELESS = 1 << 62  # ids below its negative are of blocks that no look-up finds


class PrefixCache:
    """Which runs are cached: `held` by sequences, or `idle` in the order in which they are given up."""

    def __init__(self, blocks: int, order: Order | None = None, session_of: Callable[[int], int] | None = None) -> None:
        """`session_of`: of a request's number, for orders that go by sessions."""
        self.blank = blocks  # free blocks that never held anything
        self._order = eviction("lru").order(blocks) if order is None else order
        self._idle = self._order.idle
        self._told = type(self._order).turn is not Order.turn
        self._session_of = session_of
        self._held: dict[int, list[int]] = {}  # id -> [blocks, sequences]
        self.idle_blocks = 0
        self.held_blocks = 0  # each counted once, however many sequences hold it

    def watch(self, on_evict: Callable[[int, int], None]) -> None:
        """Tell each run that is given up, with the blocks that it had."""
        self._order.on_evict = lambda name, blocks: on_evict(name, blocks) if name > -NAMELESS else None

    @property
    def free_blocks(self) -> int:
        """Blocks that no sequence holds."""
        return self.blank + self.idle_blocks

    def lookup(self, runs: Iterable[Run]) -> list[Run]:
        """The leading runs that are cached, the last of them perhaps in part. Touches nothing."""
        hits = []
        for name, blocks in runs:
            held = self._held.get(name)
            found = held[0] if held else self._idle.get(name, 0)
            if found >= blocks:
                hits.append((name, blocks))
                continue
            if found:
                hits.append((name, found))
            break
        return hits

    def revived(self, hits: Sequence[Run]) -> int:
        """Blocks of `hits` that no sequence holds yet: taking them costs free blocks."""
        return sum(blocks for name, blocks in hits if name not in self._held)

    def acquire(self, hits: Sequence[Run]) -> None:
        """Hold `hits`, found by `lookup`."""
        for name, blocks in hits:
            held = self._held.get(name)
            if held:
                held[1] += 1
                continue
            found = self._order.hold(name)
            self.idle_blocks -= found
            self.blank += found - blocks  # what the hit leaves over is recomputed, and has no name meanwhile
            self._held[name] = [blocks, 1]
            self.held_blocks += blocks

    def register(self, runs: Sequence[Run], held: dict[int, int]) -> None:
        """Name blocks that a sequence has just filled. `held`: what it holds by id so far; runs it now holds are added.

        A run that someone else named meanwhile stays a nameless copy.
        """
        for name, blocks in runs:
            entry, mine = self._held.get(name), held.get(name, 0)
            if mine:
                if entry and entry[0] < blocks and mine == entry[0]:
                    self.held_blocks += blocks - entry[0]
                    entry[0] = held[name] = blocks
            elif entry is None:
                if name in self._idle:  # older copies, found too late to be used: nameless from now on
                    found = self._order.forget(name)
                    self.blank += found
                    self.idle_blocks -= found
                self._held[name] = [blocks, 1]
                self.held_blocks += blocks
                held[name] = blocks

    def release(self, held: dict[int, int], own: int, own_blocks: int) -> None:
        """Free a sequence's blocks: `own_blocks` that are not full and nobody can hit, then those it holds, last first.

        `own`: the id of what no id of the trace names.
        """
        free = self._order.free
        if self._told:
            request = -own - 1
            self._order.turn(self._session_of(request) if self._session_of else request, request)
        if own_blocks > 0:
            free(own - NAMELESS, own_blocks)
            self.idle_blocks += own_blocks
        for name in reversed(held):
            entry = self._held[name]
            entry[1] -= 1
            if not entry[1]:
                del self._held[name]
                self.held_blocks -= entry[0]
                free(name, entry[0])
                self.idle_blocks += entry[0]

    def settle(self, free_blocks: int) -> None:
        """Evict until blank and idle blocks number `free_blocks`: what allocation took since the last call."""
        excess = self.free_blocks - free_blocks
        if excess <= 0:
            self.blank -= excess
            return
        taken = min(excess, self.blank)
        self.blank -= taken
        excess -= taken
        if excess:
            self._order.evict(excess)
            self.idle_blocks -= excess
