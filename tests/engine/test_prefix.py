"""The prefix cache, counted in runs, against a pool of single blocks as vLLM keeps it."""

from collections import OrderedDict

from hypothesis import given, settings
from hypothesis import strategies as st

from kvsim.engine.prefix import PrefixCache


class Blocks:
    """One entry a block: a queue of free blocks, least recently used first; a freed block keeps its hash."""

    def __init__(self, count: int) -> None:
        self.queue: OrderedDict[int, None] = OrderedDict((block, None) for block in range(count))
        self.hash: dict[int, tuple[int, int]] = {}
        self.block: dict[tuple[int, int], int] = {}
        self.users: dict[int, int] = {}

    def hits(self, keys: list[tuple[int, int]]) -> list[int]:
        found = []
        for key in keys:
            if key not in self.block:
                break
            found.append(self.block[key])
        return found

    def take(self, hits: list[int], new: int) -> list[int]:
        for block in hits:
            self.queue.pop(block, None)
            self.users[block] = self.users.get(block, 0) + 1
        fresh = []
        for _ in range(new):
            block, _ = self.queue.popitem(last=False)
            if block in self.hash:
                del self.block[self.hash.pop(block)]
            self.users[block] = 1
            fresh.append(block)
        return hits + fresh

    def name(self, blocks: list[int], keys: list[tuple[int, int]]) -> None:
        for block, key in zip(blocks, keys, strict=False):
            if block not in self.hash and key not in self.block:
                self.hash[block], self.block[key] = key, block

    def free(self, blocks: list[int]) -> None:
        for block in reversed(blocks):
            self.users[block] -= 1
            if not self.users[block]:
                self.queue[block] = None


PER_RUN = 4


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5), st.integers(0, 3)), min_size=1, max_size=40))
def test_hits_of_requests_in_turn(requests: list[tuple[int, int, int]]) -> None:
    """Requests one after the other: `family` names the prompt's chain of runs, `tail` blocks no one else can hit."""
    capacity = 30
    pool, cache = Blocks(capacity), PrefixCache(capacity)
    for number, (family, runs, tail) in enumerate(requests):
        named = [(family * 10 + i, PER_RUN) for i in range(runs)]
        keys = [(name, i) for name, count in named for i in range(count)]
        own = -number - 1
        hits, found = cache.lookup([*named, (own, tail)] if tail else named), pool.hits(keys)
        assert sum(count for _, count in hits) == len(found)
        assert cache.revived(hits) == len(found)  # nobody else runs
        blocks = pool.take(found, len(keys) + tail - len(found))
        pool.name(blocks, keys)
        cache.acquire(hits)
        held = dict(hits)
        cache.settle(capacity - len(blocks))
        cache.register(named, held)
        assert cache.held_blocks == len(keys)
        pool.free(blocks)
        cache.release(held, own, tail)
        assert cache.held_blocks == 0
        assert cache.free_blocks == capacity
        for other in range(4):
            chain = [(other * 10 + i, PER_RUN) for i in range(5)]
            kept = pool.hits([(name, i) for name, count in chain for i in range(count)])
            assert sum(count for _, count in cache.lookup(chain)) == len(kept)


def test_two_sequences_share_what_they_hold() -> None:
    cache = PrefixCache(10)
    held: dict[int, int] = {}
    cache.settle(6)
    cache.register([(1, 4)], held)
    hits = cache.lookup([(1, 4), (2, 4)])
    assert hits == [(1, 4)] and cache.revived(hits) == 0
    cache.acquire(hits)
    cache.release(held, -1, 0)
    assert cache.held_blocks == 4 and cache.idle_blocks == 0
    cache.release(dict(hits), -2, 0)
    assert cache.held_blocks == 0 and cache.idle_blocks == 4


def test_blocks_that_are_not_full_are_never_hit() -> None:
    cache = PrefixCache(8)
    held: dict[int, int] = {}
    cache.register([(-1, 2)], held)  # two full blocks of request 0, whose prompt was preempted in its third
    cache.blank -= 3
    cache.release(held, -1, 1)
    assert cache.idle_blocks == 3 and cache.lookup([(-1, 3)]) == [(-1, 2)]
