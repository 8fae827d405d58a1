"""Pages: taken, shared by name, given up as the engine says; and runs of neighbours."""

import numpy as np
import pytest

from kernels_ref.executor.pool import Pages
from kernels_ref.executor.runs import RunPages, runs_of
from kernels_ref.executor.texts import Texts
from kvsim.traces.trace import Blocks, Trace


def test_pages_follow_their_names() -> None:
    pages = Pages(4)
    mine = pages.take(2)
    assert [pages.call((7, i), page) for i, page in enumerate(mine)] == mine
    pages.drop(mine)
    assert pages.held == 0 and sorted(pages.idle) == sorted(mine)
    assert pages.share([(7, 0), (7, 1), (7, 2)]) == mine  # as far as there are any
    copy = pages.take(1)
    assert pages.call((7, 0), copy[0]) == mine[0]  # an older page has the name: the copy is free again
    assert pages.held == 2
    pages.drop([mine[0], *mine])
    cached = {7: 1}
    pages.cached = lambda run: cached.get(run, 0)
    assert len(pages.take(3)) == 3  # the second block of the run was given up by the engine
    assert pages.idle == [mine[0]]
    with pytest.raises(RuntimeError, match="1 pages wanted, 0 of 4 free"):
        pages.take(1)


def test_sequences_grow_in_one_piece() -> None:
    pages = RunPages(64)
    first = pages.take_after(None, 5)
    second = pages.take_after(None, 5)
    for _ in range(6):
        first += pages.take_after(first[-1], 1)
        second += pages.take_after(second[-1], 1)
    assert len(runs_of(first)) == len(runs_of(second)) == 1
    assert not set(first) & set(second)
    rest = pages.take_after(None, 64 - 22)
    assert sorted(first + second + rest) == list(range(64))


def test_more_places_than_pages() -> None:
    pages = RunPages(8, 24)
    mine = [pages.take_after(None, 2) for _ in range(3)]
    for _ in range(2):
        mine[0] += pages.take_after(mine[0][-1], 1)
    assert len(runs_of(mine[0])) == 1 and max(mine[0]) < 24
    assert pages.held == 8
    with pytest.raises(RuntimeError, match="1 pages wanted, 0 of 8 free"):
        pages.take_after(mine[1][-1], 1)


def test_runs() -> None:
    assert runs_of([3, 4, 5, 9, 2, 3]) == [(0, 3, 3), (3, 9, 1), (4, 2, 2)]
    assert runs_of([]) == []


def test_equal_blocks_have_equal_tokens() -> None:
    blocks = Blocks(np.array([1, 2, 1, 3, 1]), np.array([0, 2, 4, 5]), 32)
    trace = Trace("t", np.zeros(3), np.array([50, 64, 40]), np.array([2, 2, 2]), blocks)
    texts = Texts(trace, 97)
    first, second, third = (texts.of(i) for i in range(3))
    assert [len(x) for x in (first, second, third)] == [50, 64, 40]
    assert first[:32] == second[:32] == third[:32]
    assert first[32:40] != second[32:40] and third[32:] != first[32:40]
    assert max(second) < 97 and len(set(second)) > 20
    texts.append(0, 5)
    assert texts.generated(0) == [5] and texts.generated(1) == []
    assert Texts(trace, 97, {1: [4, 2]}).of(1) == [4, 2]
