"""Runs of block ids as one id: what prompts share stays what it was."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvsim.traces.runs import compressed, expanded
from kvsim.traces.trace import Blocks, Ints, starts

# prompts of a few letters, so that they part and join at every place; a letter may come twice in a prompt
prompts = st.lists(st.lists(st.integers(0, 5), max_size=8), max_size=8)
# prompts as chained hashes make them: an id stands for all letters up to it
chained = st.lists(st.lists(st.integers(0, 1), max_size=12), max_size=8).map(
    lambda lists: [[hash(tuple(letters[: at + 1])) % 2**62 for at in range(len(letters))] for letters in lists]
)


def _columns(lists: list[list[int]]) -> tuple[Ints, Ints]:
    return np.array([id for ids in lists for id in ids], np.int64), starts(np.array([len(ids) for ids in lists], int))


def _lists(values: Ints, start: Ints) -> list[list[int]]:
    return [values[a:b].tolist() for a, b in pairwise(start)]


def _shared(a: list[int], b: list[int], weights: list[int] | None = None) -> int:
    """Length of the leading run that two prompts have in common, each id counted by its weight."""
    count = 0
    for at, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            break
        count += weights[at] if weights else 1
    return count


@given(lists=prompts | chained)
def test_compressing_keeps_what_prompts_share(lists: list[list[int]]) -> None:
    ids, start = _columns(lists)
    runs, run_start, counts = compressed(ids, start)
    assert runs.dtype == run_start.dtype == counts.dtype == np.int64
    names, lengths = _lists(runs, run_start), _lists(counts, run_start)
    assert [sum(row) for row in lengths] == [len(row) for row in lists]
    for i, j in combinations(range(len(lists)), 2):
        assert _shared(lists[i], lists[j]) == _shared(names[i], names[j], lengths[i])


@given(lists=prompts | chained)
def test_every_run_is_whole_and_as_long_as_can_be(lists: list[list[int]]) -> None:
    runs, start, counts = compressed(*_columns(lists))
    length = dict(zip(runs.tolist(), counts.tolist(), strict=True))
    assert [length[run] for run in runs.tolist()] == counts.tolist()
    again, _, more = compressed(runs, start)
    assert again.tolist() == runs.tolist()
    assert set(more.tolist()) <= {1}


@given(lists=prompts | chained)
def test_expanding_gives_the_same_prompts_under_other_names(lists: list[list[int]]) -> None:
    ids, start = _columns(lists)
    runs, run_start, counts = compressed(ids, start)
    back = expanded(Blocks(runs, run_start, 64, counts))
    assert (back.tokens, back.counts) == (64, None)
    assert back.start.tolist() == start.tolist()
    assert len(set(zip(ids.tolist(), back.ids.tolist(), strict=True))) == len(set(ids.tolist()))
    assert len(set(back.ids.tolist())) == len(set(ids.tolist()))


def test_a_run_that_ends_with_a_request_expands_to_its_first_blocks() -> None:
    blocks = Blocks(np.array([7, 7, 9]), np.array([0, 1, 3]), 16, np.array([2, 4, 1]))
    assert _lists(*(lambda back: (back.ids, back.start))(expanded(blocks))) == [[0, 1], [0, 1, 2, 3, 4]]


def test_blocks_without_counts_are_left_alone() -> None:
    blocks = Blocks(np.array([3, 4]), np.array([0, 2]), 16)
    assert expanded(blocks) is blocks


@pytest.mark.parametrize("far", [1, 10**12])
def test_one_request_is_one_run(far: int) -> None:
    ids, start, counts = compressed(np.arange(5) * far, np.array([0, 5]))
    assert (ids.tolist(), start.tolist(), counts.tolist()) == ([0], [0, 1], [5])
