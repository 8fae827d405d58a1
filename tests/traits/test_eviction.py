"""Orders of eviction: single pages as the papers write their algorithms, runs of blocks, and what names they go by."""

from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kvsim import find
from kvsim.errors import UserError
from kvsim.traits.eviction import eviction, online

NAMES = find.paper_names("prefix")
ONLINE = [name for name in NAMES if not eviction(name).knows_future]


def hits(pages: list[int], name: str, capacity: int) -> list[int]:
    """Whether each page is found."""
    order = eviction(name).order(capacity)
    found = []
    for request, page in enumerate(pages):
        order.turn(request, request)
        found.append(order.hold(page) if page in order.idle else 0)
        order.free(page, 1)
        if len(order.idle) > capacity:
            order.evict(1)
    return found


def _naive(pick: Callable[[dict[int, list[int]]], int]) -> Callable[[list[int], int], list[int]]:
    """A cache of pages; `pick` chooses among {page: [uses, first use, last use]}."""

    def run(pages: list[int], capacity: int) -> list[int]:
        cache: dict[int, list[int]] = {}
        found = []
        for now, page in enumerate(pages):
            found.append(int(page in cache))
            uses, first, _ = cache.get(page, [0, now, now])
            cache[page] = [uses + 1, first, now]
            if len(cache) > capacity:
                del cache[pick(cache)]
        return found

    return run


def _arc(pages: list[int], c: int) -> list[int]:
    """Figure 4 of the paper; the end of a list is its most recent page."""
    t1: list[int] = []
    t2: list[int] = []
    b1: list[int] = []
    b2: list[int] = []
    p, found = 0.0, []

    def replace(x: int) -> None:
        if (t1 and (len(t1) > p or (x in b2 and len(t1) == p))) or not t2:
            b1.append(t1.pop(0))
        else:
            b2.append(t2.pop(0))

    for x in pages:
        found.append(int(x in t1 or x in t2))
        if x in t1 or x in t2:
            (t1 if x in t1 else t2).remove(x)
            t2.append(x)
        elif x in b1:
            p = min(c, p + max(1, len(b2) / len(b1)))
            replace(x)
            b1.remove(x)
            t2.append(x)
        elif x in b2:
            p = max(0, p - max(1, len(b1) / len(b2)))
            replace(x)
            b2.remove(x)
            t2.append(x)
        else:
            if len(t1) + len(b1) == c:
                if len(t1) < c:
                    b1.pop(0)
                    replace(x)
                else:
                    t1.pop(0)
            elif len(t1) + len(t2) + len(b1) + len(b2) >= c:
                if len(t1) + len(t2) + len(b1) + len(b2) == 2 * c:
                    b2.pop(0)
                replace(x)
            t1.append(x)
    return found


def _s3_fifo(pages: list[int], c: int) -> list[int]:
    """Algorithm 1 of the paper, but that a page is taken in before one is given up; the end of a list is its head."""
    small: list[int] = []
    main: list[int] = []
    ghosts: list[int] = []
    freq: dict[int, int] = {}
    found = []

    def evict_main() -> None:
        while True:
            t = main.pop(0)
            if not freq[t]:
                del freq[t]
                return
            freq[t] -= 1
            main.append(t)

    def evict_small(new: int) -> bool:
        while small and small[0] != new:
            t = small.pop(0)
            if freq[t] <= 1:
                del freq[t]
                ghosts.append(t)
                return True
            freq[t] = 0
            main.append(t)
        return False

    for x in pages:
        found.append(int(x in freq))
        if x in freq:
            freq[x] = min(3, freq[x] + 1)
            continue
        if x in ghosts:
            ghosts.remove(x)
            main.append(x)
        else:
            small.append(x)
        freq[x] = 0
        older = len(small) - (x in small)
        if len(freq) > c and not ((older >= 0.1 * c or not main) and evict_small(x)):
            evict_main()
        del ghosts[: max(0, len(ghosts) - int(0.9 * c))]
    return found


NAIVE: dict[str, Callable[[list[int], int], list[int]]] = {
    "lru": _naive(lambda cache: min(cache, key=lambda page: cache[page][2])),
    "fifo": _naive(lambda cache: min(cache, key=lambda page: cache[page][1])),
    "lfu": _naive(lambda cache: min(cache, key=lambda page: (cache[page][0], cache[page][2]))),
    "arc": _arc,
    "s3-fifo": _s3_fifo,
}


@settings(max_examples=150, deadline=None)
@example(pages=[0, 0, 1, 2, 1, 3, 4, 0, 0, 2, 0], capacity=2)  # ARC: the first queue is full when its ghosts are too
@given(pages=st.lists(st.integers(0, 12), min_size=1, max_size=120), capacity=st.integers(1, 10))
@pytest.mark.parametrize("name", NAIVE)
def test_single_pages_as_the_papers_write_it(name: str, pages: list[int], capacity: int) -> None:
    assert hits(pages, name, capacity) == NAIVE[name](pages, capacity)


Actions = st.lists(st.tuples(st.sampled_from(["use", "free", "forget", "evict"]), st.integers(0, 9)), max_size=150)


@settings(max_examples=150, deadline=None)
@given(actions=Actions, sizes=st.lists(st.integers(1, 5), min_size=10, max_size=10))
@pytest.mark.parametrize("name", ONLINE)
def test_what_is_idle_is_kept_count_of(name: str, actions: list[tuple[str, int]], sizes: list[int]) -> None:
    """Runs are used, freed, dropped and given up at will; in use they are never given up."""
    order, capacity = eviction(name).order(20), 20
    held: dict[int, int] = {}
    for request, (action, run) in enumerate(actions):
        before = dict(order.idle)
        if action == "use" and run in before:
            assert order.hold(run) == before.pop(run)
            held[run] = sizes[run]
        elif action == "free" and sum(before.values()) + sizes[run] <= capacity and run not in before:
            order.turn(run % 3, request)
            order.free(run, held.pop(run, sizes[run]))
            before[run] = sizes[run]
        elif action == "forget" and run in before:
            assert order.forget(run) == before.pop(run)
        elif action == "evict" and before:
            blocks = 1 + run % sum(before.values())
            order.evict(blocks)
            assert sum(order.idle.values()) == sum(before.values()) - blocks
            changed = [run for run in before if order.idle.get(run) != before[run]]
            assert sum(run in order.idle for run in changed) <= 1  # one at most in part
            before = dict(order.idle)
        assert order.idle == before


def test_an_engine_takes_what_needs_no_future() -> None:
    for name in ONLINE:
        assert online(name) == eviction(name)
    for name in ("belady", "succinct:accuracy=0.7"):
        with pytest.raises(UserError, match="must know the future, which an engine does not: take one of arc, fifo"):
            online(name)
