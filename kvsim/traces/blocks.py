"""Arithmetic on the block ids of prompts: how many there are, one id a block, smaller blocks, ids set apart."""

import numpy as np

from kvsim.errors import UserError
from kvsim.traces.trace import Blocks, Ints, starts


def held_blocks(blocks: Blocks) -> Ints:
    """Per request: its blocks, whole and partial."""
    if blocks.counts is None:
        return np.diff(blocks.start)
    held: Ints = np.diff(starts(blocks.counts)[blocks.start])
    return held


def one_by_one(blocks: Blocks) -> Blocks:
    """The same prompts with an id for each block; block k of a run has the same in all requests that have it."""
    if blocks.counts is None:
        return blocks
    names, which = np.unique(blocks.ids, return_inverse=True)
    longest = np.zeros(len(names), np.int64)
    np.maximum.at(longest, which, blocks.counts)
    begin = starts(blocks.counts)
    ids = np.repeat(starts(longest)[which] - begin[:-1], blocks.counts) + np.arange(begin[-1])
    return Blocks(ids, begin[blocks.start], blocks.tokens)


def split(blocks: Blocks, prompt_tokens: Ints, tokens: int) -> Blocks:
    """The same prompts in blocks of `tokens` tokens, of which each block held some whole number: as runs.

    A prompt's last block may become fewer than others; a tail that had no id gets one that nobody else has.

    Raises:
        UserError: `tokens` does not divide the blocks, so that what they share would be lost.
    """
    if blocks.tokens == tokens:
        return blocks
    if blocks.tokens % tokens:
        raise UserError(
            f"blocks of {blocks.tokens} tokens cannot become blocks of {tokens}: only a divisor loses nothing"
        )
    times = blocks.tokens // tokens
    counts = np.full(len(blocks.ids), times, np.int64) if blocks.counts is None else blocks.counts * times
    held = held_blocks(blocks) * times
    rows = np.flatnonzero(held)
    counts[blocks.start[1:][rows] - 1] -= np.maximum(held - -(-prompt_tokens // tokens), 0)[rows]  # past the end
    missing = prompt_tokens // tokens - held
    bare = np.flatnonzero(missing > 0)
    known, free = numbered(blocks.ids, 0)
    ids = np.insert(known, blocks.start[1:][bare], np.arange(len(bare)) + free)
    counts = np.insert(counts, blocks.start[1:][bare], missing[bare])
    return Blocks(ids, starts(np.diff(blocks.start) + (missing > 0)), tokens, counts)


def numbered(ids: Ints, first: int) -> tuple[Ints, int]:
    """(ids that are equal where the given ones are, counted from `first` in order of size; the next free one)."""
    names, which = np.unique(ids, return_inverse=True)
    return which.astype(np.int64) + first, first + len(names)
