"""Prefix caching by a radix tree, as SGLang's RadixCache does it (sgl-project/sglang, mem_cache/radix_cache.py).

A node is a stretch of blocks that all its prompts share. A match or an insertion that ends inside a node splits it
there, and stamps every node on its way. Sequences lock the nodes from the root to where they are. Allocation gives up
whole unlocked leaves, the one with the oldest stamp first, so it may free more than it needs. A sequence that finds its
blocks in the tree when it inserts them frees its own copies and shares the tree's. SGLang gives up as much as it is
about to allocate; here it is what is short.

Counted in runs, as `kvsim.engine.prefix` does; a page is a block of `block_tokens` (SGLang's default is 1).
"""

from collections.abc import Callable, Iterable, Sequence
from heapq import heappop, heappush
from itertools import count

from kvsim.engine.prefix import Run

Part = tuple[int, int, int]  # (id, first block, blocks) of a run


class _Node:
    __slots__ = ("blocks", "children", "parent", "parts", "stamp", "users")

    def __init__(self, parent: "_Node | None", parts: list[Part], users: int, stamp: int) -> None:
        self.parent, self.parts, self.users, self.stamp = parent, parts, users, stamp
        self.blocks = sum(part[2] for part in parts)
        self.children: dict[tuple[int, int], _Node] = {}  # by the first block of each: (id, number in its run)


class RadixCache:
    """The tree; locked blocks are `held`, all others in it `idle`."""

    def __init__(self, blocks: int) -> None:
        self.blank = blocks  # free blocks outside the tree
        self.idle_blocks = 0
        self.held_blocks = 0  # each counted once, however many sequences hold it
        self._root = _Node(None, [], 1, 0)
        self._clock = 0
        self._leaves: list[tuple[int, int, _Node]] = []  # a heap by stamp; stale ones stay until they come up
        self._ties = count()
        self._on_evict: Callable[[int, int], None] | None = None

    def watch(self, on_evict: Callable[[int, int], None]) -> None:
        """Tell each run that is given up, with the blocks that it had."""
        self._on_evict = on_evict

    @property
    def free_blocks(self) -> int:
        """Blocks that no sequence holds."""
        return self.blank + self.idle_blocks

    def lookup(self, runs: Iterable[Run]) -> list[Run]:
        """The leading runs that are cached, the last of them perhaps in part. Touches nothing."""
        wanted = list(runs)
        _, found, _ = self._walk(wanted)
        return _leading(wanted, found)

    def revived(self, hits: Sequence[Run]) -> int:
        """Blocks of `hits` that no sequence holds yet: taking them costs free blocks."""
        path, found, _ = self._walk(hits)
        beyond = sum(node.blocks for node in path) - found  # of the last node, what the hits do not reach
        idle = sum(node.blocks for node in path if not node.users)
        return idle - (beyond if path and not path[-1].users else 0)

    def acquire(self, hits: Sequence[Run]) -> None:
        """Hold `hits`, found by `lookup`."""
        for node in self._reach(hits):
            self._lock(node)

    def register(self, runs: Sequence[Run], held: dict[int, int]) -> None:
        """Insert blocks that a sequence has just filled. `held`: what it holds by id so far; what it adds is held too.

        Its copies of blocks that the tree has already are freed.
        """
        mine = sum(held.values())
        path = self._reach(runs)
        depth = 0
        for node in path:
            depth += node.blocks
            if depth > mine:
                self._lock(node)
                self.blank += node.blocks
        rest = _after(runs, depth)
        if rest:
            parent = path[-1] if path else self._root
            node = _Node(parent, rest, 1, self._clock)
            parent.children[rest[0][:2]] = node
            self.held_blocks += node.blocks
        held.update((name, blocks) for name, blocks in runs if blocks > held.get(name, 0))

    def release(self, held: dict[int, int], own: int, own_blocks: int) -> None:
        """Unlock what a sequence holds; `own_blocks` of it that are not in the tree (`own`: their id) are blank."""
        self.blank += max(0, own_blocks)
        path, _, _ = self._walk(list(held.items()))
        for node in path:
            node.users -= 1
            if not node.users:
                self.held_blocks -= node.blocks
                self.idle_blocks += node.blocks
                self._offer(node)

    def settle(self, free_blocks: int) -> None:
        """Give leaves up until `free_blocks` or more are blank or idle: what allocation took since the last call."""
        excess = self.free_blocks - free_blocks
        self.blank -= excess
        while self.blank < 0:
            stamp, _, node = heappop(self._leaves)
            if node.users or node.children or node.stamp != stamp or node.parent is None:
                continue
            parent, node.parent = node.parent, None
            del parent.children[node.parts[0][:2]]
            self.idle_blocks -= node.blocks
            self.blank += node.blocks
            self._offer(parent)
            if self._on_evict:
                for name, first, blocks in node.parts:
                    self._on_evict(name, first + blocks)

    # -- the tree ----------------------------------------------------------------------------------------------------

    def _walk(self, runs: Sequence[Run]) -> tuple[list[_Node], int, int]:
        """(nodes that runs reach, blocks of runs that are in them, blocks of the last node that runs do not reach)."""
        node, found = self._root, 0
        path: list[_Node] = []
        todo = iter(runs)
        name, left = next(todo, (0, 0))
        first = 0
        while left:
            child = node.children.get((name, first))
            if child is None:
                return path, found, 0
            node, unmatched = child, child.blocks
            path.append(node)
            for part, start, blocks in node.parts:
                if part != name or start != first:
                    break
                taken = min(blocks, left)
                unmatched, found, first, left = unmatched - taken, found + taken, first + taken, left - taken
                if not left:
                    name, left = next(todo, (0, 0))
                    first = 0
                if taken < blocks or not left:
                    break
            if unmatched:
                return path, found, unmatched
        return path, found, 0

    def _reach(self, runs: Sequence[Run]) -> list[_Node]:
        """The nodes that runs reach, stamped, the last of them split where they end in it."""
        self._clock += 1
        path, _, unmatched = self._walk(runs)
        for node in path:
            node.stamp = self._clock
        if unmatched:
            below = path[-1]
            path[-1] = self._split(below, below.blocks - unmatched)
            self._offer(below)
        return path

    def _split(self, node: _Node, blocks: int) -> _Node:
        """Give a node's first blocks to a new one above it, and return that."""
        parent = node.parent
        assert parent is not None
        whole = [(part, amount) for part, _, amount in node.parts]
        rest = _after(whole, blocks)
        offsets = {part: start for part, start, _ in node.parts}
        head = [(part, offsets[part], amount) for part, amount in _leading(whole, blocks)]
        above = _Node(parent, head, node.users, self._clock)
        node.parts = [(part, offsets[part] + start, amount) for part, start, amount in rest]
        node.blocks -= blocks
        node.parent = above
        parent.children[head[0][:2]] = above
        above.children[node.parts[0][:2]] = node
        return above

    def _lock(self, node: _Node) -> None:
        if not node.users:
            self.idle_blocks -= node.blocks
            self.held_blocks += node.blocks
        node.users += 1

    def _offer(self, node: _Node) -> None:
        """A node that may be given up now, if it is an unlocked leaf."""
        if not node.users and not node.children:
            heappush(self._leaves, (node.stamp, next(self._ties), node))


def _leading(runs: Sequence[Run], blocks: int) -> list[Run]:
    """The first `blocks` blocks of runs."""
    found = []
    for name, many in runs:
        if blocks <= 0:
            break
        found.append((name, min(many, blocks)))
        blocks -= many
    return found


def _after(runs: Sequence[Run], blocks: int) -> list[Part]:
    """Runs without their first `blocks` blocks."""
    rest = []
    for name, many in runs:
        if blocks < many:
            rest.append((name, max(0, blocks), many - max(0, blocks)))
        blocks -= many
    return rest
