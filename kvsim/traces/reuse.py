"""Outputs that become the next turn's prompt: which prefix hashes a request's own output goes under.

A trace names the blocks of prompts only. Where a session's next turn begins with a request's prompt and is long enough
to hold its output too, the blocks that follow in that turn are the output's: a server that hashes what it generates, as
vLLM does, has them cached by then. Without this, hits are a lower bound; with it, an upper one, for a chat template or
hidden reasoning tokens may make the next turn differ from what was generated.
"""

from dataclasses import replace

import numpy as np

from kvsim.traces.trace import Blocks, Ints, Trace, starts


def with_outputs(trace: Trace) -> Trace:
    """The trace with block ids that cover outputs too, where a session's next turn tells them."""
    blocks, sessions = trace.blocks, trace.sessions
    if not blocks or not sessions:
        return trace
    counts = np.ones(len(blocks.ids), np.int64) if blocks.counts is None else blocks.counts
    ids = [blocks.ids[a:b] for a, b in zip(blocks.start[:-1], blocks.start[1:], strict=True)]
    sizes = [counts[a:b] for a, b in zip(blocks.start[:-1], blocks.start[1:], strict=True)]
    covers = trace.prompt_tokens.copy()
    waits = np.diff(sessions.start)
    child = np.repeat(np.arange(len(trace)), waits)
    for at in np.argsort(-child, kind="stable").tolist():  # later turns first: what they cover is theirs to hand on
        i, j = int(sessions.parents[at]), int(child[at])
        told = int(min(trace.prompt_tokens[i] + trace.output_tokens[i], covers[j]))
        full = _full(ids[i], sizes[i], int(trace.prompt_tokens[i]), blocks.tokens)
        if covers[i] == trace.prompt_tokens[i] < told and _goes_on(ids[i][:full], sizes[i][:full], ids[j], sizes[j]):
            ids[i], sizes[i] = _cut(ids[j], sizes[j], -(-told // blocks.tokens))
            covers[i] = min(told, int(sizes[i].sum()) * blocks.tokens)
    start = starts(np.array([len(part) for part in ids]))
    flat = np.concatenate(ids)
    ones = blocks.counts is None
    return replace(trace, blocks=Blocks(flat, start, blocks.tokens, None if ones else np.concatenate(sizes), covers))


def _full(ids: Ints, sizes: Ints, tokens: int, block_tokens: int) -> int:
    """How many of a prompt's ids cover nothing but the prompt."""
    return int(np.searchsorted(np.cumsum(sizes) * block_tokens, tokens, side="right"))


def _goes_on(ids: Ints, sizes: Ints, later_ids: Ints, later_sizes: Ints) -> bool:
    """Whether a later prompt begins with these runs and has more."""
    many = len(ids)
    same = len(later_ids) > many and np.array_equal(ids, later_ids[:many])
    return bool(same and np.array_equal(sizes, later_sizes[:many]))


def _cut(ids: Ints, sizes: Ints, blocks: int) -> tuple[Ints, Ints]:
    """The leading runs that hold `blocks` blocks, the last of them perhaps in part."""
    ends = np.cumsum(sizes)
    many = int(np.searchsorted(ends, blocks)) + 1
    kept = sizes[:many].copy()
    if many <= len(sizes):
        kept[-1] -= max(0, int(ends[many - 1]) - blocks)
    return ids[:many], kept
