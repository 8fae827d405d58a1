"""The radix tree, counted in runs, against one of lists of blocks, written after SGLang's description of its own."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvsim import find
from kvsim.engine.prefix import PrefixCache, Run
from kvsim.engine.radix import RadixCache
from kvsim.traits.eviction import eviction

Key = tuple[int, int]
PER_RUN, CAPACITY = 4, 40
ONLINE = [name for name in find.paper_names("prefix") if not eviction(name).knows_future]


@dataclass(eq=False)
class Node:
    key: list[Key] = field(default_factory=list)
    parent: Any = None
    children: list["Node"] = field(default_factory=list)
    locks: int = 0
    time: int = 0


class Tree:
    """Nodes of lists of blocks; every operation takes the next time."""

    def __init__(self) -> None:
        self.root, self.now = Node(), 0

    def nodes(self, node: Node | None = None) -> list[Node]:
        node = node or self.root
        return [node, *(below for child in node.children for below in self.nodes(child))]

    def blocks(self, *, locked: bool) -> int:
        return sum(len(node.key) for node in self.nodes() if bool(node.locks) == locked)

    def has(self, keys: list[Key]) -> int:
        """Blocks of the longest prefix; changes nothing."""
        node, done = self.root, 0
        while True:
            child = next((child for child in node.children if keys[done : done + 1] == child.key[:1]), None)
            if child is None:
                return done
            common = sum(1 for n in range(len(child.key)) if child.key[: n + 1] == keys[done : done + n + 1])
            done += common
            if common < len(child.key):
                return done
            node = child

    def match(self, keys: list[Key]) -> Node:
        """The node where the longest prefix ends, split there; all on the way are touched."""
        self.now += 1
        node, rest = self.root, list(keys)
        while rest:
            child = next((child for child in node.children if child.key[0] == rest[0]), None)
            if child is None:
                return node
            child.time = self.now
            common = sum(1 for n in range(len(child.key)) if child.key[: n + 1] == rest[: n + 1])
            if common < len(child.key):
                above = Node(child.key[:common], node, [child], child.locks, self.now)
                node.children[node.children.index(child)] = above
                child.key, child.parent = child.key[common:], above
                return above
            node, rest = child, rest[common:]
        return node

    def insert(self, keys: list[Key]) -> Node:
        node = self.match(keys)
        done, above = 0, node
        while above.parent:
            done, above = done + len(above.key), above.parent
        if done < len(keys):
            leaf = Node(list(keys[done:]), node, time=self.now)
            node.children.append(leaf)
            node = leaf
        return node

    def lock(self, node: Node, by: int) -> None:
        while node.parent:
            node.locks += by
            node = node.parent

    def evict(self, blocks: int) -> None:
        while blocks > 0:
            leaf = min((node for node in self.nodes() if node.parent and not node.children and not node.locks),
                       key=lambda node: node.time)  # fmt: skip
            leaf.parent.children.remove(leaf)
            blocks -= len(leaf.key)


@dataclass
class Running:
    """A sequence as the engine runs it: named runs, then its own blocks."""

    number: int
    named: list[Run]
    own: int
    last: Node
    held: dict[int, int]

    @property
    def runs(self) -> list[Run]:
        return [*self.named, (-self.number - 1, self.own)] if self.own else self.named

    @property
    def blocks(self) -> int:
        return sum(blocks for _, blocks in self.runs)


def keys(runs: list[Run]) -> list[Key]:
    return [(name, number) for name, blocks in runs for number in range(blocks)]


PATHS = [(0,), (0, 1), (0, 1, 2), (0, 3), (0, 1, 4), (5, 6)]
Requests = st.lists(
    st.tuples(st.sampled_from(PATHS), st.integers(1, PER_RUN), st.integers(0, 3), st.integers(1, 3)), max_size=40
)


def used(running: list[Running], held_blocks: int) -> int:
    """Blocks that sequences take, shared ones once, as the engine's memory counts them."""
    return sum(seq.blocks for seq in running) - sum(sum(seq.held.values()) for seq in running) + held_blocks


@settings(max_examples=300, deadline=None)
@given(requests=Requests)
def test_it_is_the_tree_of_blocks(requests: list[tuple[tuple[int, ...], int, int, int]]) -> None:
    """Each request: its named runs, how much of the last, its own blocks, and how many sequences run beside it."""
    cache, tree = RadixCache(CAPACITY), Tree()
    running: list[Running] = []

    def end() -> None:
        seq = running.pop(0)
        cache.register(seq.runs, seq.held)
        tree.insert(keys(seq.runs))
        tree.lock(tree.insert(keys(seq.runs)), 1)
        cache.release(seq.held, -seq.number - 1, seq.blocks - sum(seq.held.values()))
        tree.lock(seq.last, -1)
        tree.lock(tree.match(keys(seq.runs)), -1)
        seq.held = {}

    for number, (path, part, own, beside) in enumerate(requests):
        named = [(name, PER_RUN) for name in path[:-1]] + [(path[-1], part)]
        while len(running) > beside or used(running, cache.held_blocks) + 20 > CAPACITY:
            end()
            check(cache, tree, running)
        seq = Running(number, named, own, tree.root, {})
        hits = cache.lookup(seq.runs)
        assert sum(blocks for _, blocks in hits) == tree.has(keys(seq.runs))
        before = cache.held_blocks
        revived = cache.revived(hits)
        cache.acquire(hits)
        assert cache.held_blocks == before + revived
        seq.last = tree.match(keys(hits))
        tree.lock(seq.last, 1)
        seq.held = dict(hits)
        running.append(seq)
        check(cache, tree, running)
        cache.register(seq.named, seq.held)
        if sum(blocks for _, blocks in named) > sum(blocks for _, blocks in hits):
            node = tree.insert(keys(named))
            tree.lock(node, 1)
            tree.lock(seq.last, -1)
            seq.last = node
        else:
            tree.insert(keys(named))
        check(cache, tree, running)


def check(cache: RadixCache, tree: Tree, running: list[Running]) -> None:
    """Settle both, and compare."""
    free = CAPACITY - used(running, cache.held_blocks)
    tree.evict(tree.blocks(locked=False) - free)
    cache.settle(free)
    assert cache.free_blocks == free
    assert cache.blank >= 0
    assert (cache.held_blocks, cache.idle_blocks) == (tree.blocks(locked=True), tree.blocks(locked=False))
    for path in PATHS:
        chain = [(name, PER_RUN) for name in path]
        assert sum(blocks for _, blocks in cache.lookup(chain)) == tree.has(keys(chain))


@settings(max_examples=100, deadline=None)
@given(requests=Requests)
@pytest.mark.parametrize("name", [*ONLINE, "radix"])
def test_blocks_are_kept_count_of(name: str, requests: list[tuple[tuple[int, ...], int, int, int]]) -> None:
    """Whatever goes first: what sequences hold and what is free make the capacity, and held blocks stay."""
    cache = RadixCache(CAPACITY) if name == "radix" else PrefixCache(CAPACITY, eviction(name).order(CAPACITY))
    running: list[Running] = []
    seen: set[Key] = set()

    def settle() -> None:
        free = CAPACITY - used(running, cache.held_blocks)
        cache.settle(free)
        assert cache.free_blocks == free and cache.blank >= 0 and cache.idle_blocks >= 0
        for seq in running:
            held = list(seq.held.items())
            assert cache.lookup(held) == held and cache.revived(held) == 0

    for number, (path, part, own, beside) in enumerate(requests):
        named = [(name, PER_RUN) for name in path[:-1]] + [(path[-1], part)]
        while len(running) > beside or used(running, cache.held_blocks) + 20 > CAPACITY:
            seq = running.pop(0)
            cache.register(seq.runs, seq.held)
            cache.release(seq.held, -seq.number - 1, seq.blocks - sum(seq.held.values()))
            settle()
        seq = Running(number, named, own, Node(), {})
        hits = cache.lookup(seq.runs)
        assert set(keys(hits)) <= seen
        cache.acquire(hits)
        seq.held = dict(hits)
        running.append(seq)
        settle()
        cache.register(seq.named, seq.held)
        settle()
        seen |= set(keys(seq.named))


def test_a_whole_leaf_goes_for_a_block() -> None:
    cache = RadixCache(10)
    for number, runs in enumerate(([(0, 2), (1, 3)], [(0, 2), (2, 3)])):
        held: dict[int, int] = {}
        hits = cache.lookup(runs)
        cache.acquire(hits)
        held.update(hits)
        cache.register(runs, held)
        cache.release(held, -number - 1, 0)
        cache.settle(10)
    assert (cache.idle_blocks, cache.blank) == (8, 2)
    cache.settle(7)
    assert cache.lookup([(0, 2), (1, 3)]) == [(0, 2)]
    assert cache.lookup([(0, 2), (2, 3)]) == [(0, 2), (2, 3)]
    assert (cache.idle_blocks, cache.blank) == (5, 2)
