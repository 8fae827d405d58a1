"""A trace's prompts as pieces: runs of blocks that each request uses whole, or not at all."""

from dataclasses import dataclass

import numpy as np

from kvsim.traces.trace import Blocks, Ints, starts


@dataclass(frozen=True)
class Pieces:
    """Request i uses pieces `names[start[i]:start[i + 1]]`, numbered from 0; piece `n` has `blocks[n]` blocks."""

    names: Ints
    start: Ints
    blocks: Ints

    @property
    def unique_blocks(self) -> int:
        """Blocks of all pieces."""
        return int(self.blocks.sum())

    def next_use(self) -> Ints:
        """Per use: the position of the next use of the same piece, or `len(names)` if there is none."""
        uses = len(self.names)
        by_name = np.argsort(self.names, kind="stable")
        again = self.names[by_name[1:]] == self.names[by_name[:-1]]
        following = np.full(uses, uses, np.int64)
        following[by_name[:-1][again]] = by_name[1:][again]
        return following


def pieces(blocks: Blocks) -> Pieces:
    """Cut each run where some request ends within it. An id that a request repeats counts once, where it is first."""
    ids, start, counts = _without_repeats(blocks)
    unique, run = np.unique(ids, return_inverse=True)
    if counts is None:
        return Pieces(run.astype(np.int64), start, np.ones(len(unique), np.int64))
    cuts = np.unique(np.stack([run, counts], axis=1), axis=0)  # by run, then by where requests end in it
    first = starts(np.bincount(cuts[:, 0], minlength=len(unique)))  # the first piece of each run
    before = np.concatenate([[0], cuts[:-1, 1]])
    before[first[:-1]] = 0
    base = int(counts.max()) + 1 if len(counts) else 1
    last = np.searchsorted(cuts[:, 0] * base + cuts[:, 1], run * base + counts)  # the piece that each use ends with
    many = last - first[run] + 1
    owner = starts(many)
    names = np.repeat(first[run] - owner[:-1], many) + np.arange(owner[-1])
    return Pieces(names, owner[start], cuts[:, 1] - before)


def _without_repeats(blocks: Blocks) -> tuple[Ints, Ints, Ints | None]:
    request = np.repeat(np.arange(len(blocks.start) - 1), np.diff(blocks.start))
    order = np.lexsort((blocks.ids, request))
    same = (blocks.ids[order][1:] == blocks.ids[order][:-1]) & (request[order][1:] == request[order][:-1])
    if not same.any():
        return blocks.ids, blocks.start, blocks.counts
    kept = np.ones(len(blocks.ids), np.bool_)
    kept[order[1:][same]] = False
    start = starts(np.bincount(request[kept], minlength=len(blocks.start) - 1))
    return blocks.ids[kept], start, None if blocks.counts is None else blocks.counts[kept]
