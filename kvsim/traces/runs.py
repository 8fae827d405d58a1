"""Runs of block ids that every request has together, as one id with a count, and back.

Chained ids make a tree: a prompt is a path, and long stretches of it have no branch. One id for a stretch keeps what
any two prompts share, in a small part of the memory.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kvsim.traces.trace import Blocks, Ints, starts

_SPARSE = 4  # ids up to so many times their number index tables; others are numbered anew first
_NONE = -1


def compressed(ids: Ints, start: Ints) -> tuple[Ints, Ints, Ints]:
    """(ids, start, counts) of requests whose block ids, at least 0, are `ids[start[i]:start[i + 1]]`.

    A run begins where a request does, and wherever ids part, join or end in any of them; so every request has it whole,
    and it is named by its first id.
    """
    names, size = _numbered(ids)
    before = np.empty_like(names)
    before[1:] = names[:-1]
    after = np.empty_like(names)
    after[:-1] = names[1:]
    some = start[:-1] < start[1:]
    before[start[:-1][some]] = _NONE
    after[start[1:][some] - 1] = _NONE
    one_before, only_before = _single(names, before, size)
    _, only_after = _single(names, after, size)
    begins = ~only_before | (one_before == _NONE) | ~only_after[one_before]
    at = np.flatnonzero(begins[names])
    counts = np.diff(np.append(at, len(ids)))
    return ids[at], np.searchsorted(at, start).astype(np.int64), counts


def by_request(prompts: Sequence[Ints]) -> list[tuple[Ints, Ints]]:
    """(ids, counts) of each of some requests, whose block ids these are."""
    start = starts(np.array([len(ids) for ids in prompts], np.int64))
    ids, start, counts = compressed(np.concatenate([np.empty(0, np.int64), *prompts]), start)
    return [(ids[part], counts[part]) for part in map(slice, start[:-1], start[1:])]


def expanded(blocks: Blocks) -> Blocks:
    """The same prompts with one id a block; ids are numbered anew unless there is one a block already."""
    if blocks.counts is None:
        return blocks
    names, size = _numbered(blocks.ids)
    longest = np.zeros(size, np.int64)
    np.maximum.at(longest, names, blocks.counts)
    first = starts(longest)[names]
    begin = starts(blocks.counts)
    ids = np.repeat(first - begin[:-1], blocks.counts) + np.arange(begin[-1])
    return Blocks(ids, begin[blocks.start], blocks.tokens)


def _numbered(ids: Ints) -> tuple[Ints, int]:
    """(ids, n): ids from 0 to n - 1 that are equal where the given ones are."""
    if not len(ids):
        return ids, 0
    most = int(ids.max())
    if most < _SPARSE * len(ids) and ids.min() >= 0:
        return ids, most + 1
    unique, which = np.unique(ids, return_inverse=True)
    return which.astype(np.int64), len(unique)


def _single(names: Ints, neighbours: Ints, size: int) -> tuple[Ints, NDArray[np.bool_]]:
    """Per id: one of its neighbours, and whether it has no other."""
    one = np.full(size, _NONE, np.int64)
    one[names] = neighbours
    only = np.ones(size, np.bool_)
    only[names[one[names] != neighbours]] = False
    return one, only
