"""Block ids for sessions whose source has none, made from how prompts grow.

A call's *sequence* is its prompt and then its output. A call whose prompt is at least as long as the sequence of a call
that it waits for goes on from there: their first blocks are the same, those of the output included. A shorter prompt
starts anew, but for the tokens that the source says are shared.

Ids cover whole blocks of prompts. Blocks that a prompt shares with an output have ids in the later prompt only: who
replays the trace decides whether an output's blocks can be found. Counting them as found gives the upper bound of what
prefix caching saves, counting only what an earlier prompt has had the lower one.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from kvsim.traces.sessions import Call
from kvsim.traces.stats import leading_seen
from kvsim.traces.trace import Blocks, starts

BLOCK_TOKENS = 16
_NONE = np.empty(0, np.int64)
_Span = tuple[int, int]  # blocks by number: the first, and that after the last


class Growth:
    """Gives calls their ids, unique over the sessions it has seen, and counts what they did."""

    def __init__(self) -> None:
        self._ids = 0  # used so far
        self._grown = self._anew = self._partly = 0
        self._unexplained = 0  # tokens that first calls are said to share, with whom is not known
        self._prompt = self._least = self._most = 0  # tokens: all, and found by an infinite cache

    def notes(self) -> list[str]:
        """What was assumed, how often, and the bounds of what prefix caching saves."""
        notes = [
            f"no block ids in the source: made from lengths, in blocks of {BLOCK_TOKENS}; {self._grown:,} later turns "
            f"share the prompt and output before them, {self._anew:,} are shorter and start anew"
            + (f", {self._partly:,} of them after what the source says was shared" if self._partly else "")
        ]
        if self._prompt:
            least, most = (f"{tokens / self._prompt:.1%}" for tokens in (self._least, self._most))
            notes.append(f"infinite-cache hit {least} of prompt tokens, {most} where outputs are found again as well")
        if self._unexplained:
            notes.append(f"{self._unexplained:,} tokens that first turns shared with turns not known count as new")
        return notes

    def ids(self, calls: Sequence[Call], shared_tokens: Sequence[int | None] = ()) -> list[Call]:
        """A session's calls with their block ids; parents come before their children.

        Args:
            shared_tokens: per call, how many tokens of its prompt the source says are those of a call before it; None
                where it does not say. It holds where a prompt is shorter than all sequences that it could go on from.
        """
        sequences: list[list[_Span]] = []  # of each call: the whole blocks of its prompt and output
        stands_for: list[tuple[int, ...]] = []  # of each call: itself, or what it waited for if it has no tokens
        for at, call in enumerate(calls):
            told = shared_tokens[at] if shared_tokens else None
            parents = tuple(dict.fromkeys(chain.from_iterable(stands_for[parent] for parent in call.parents)))
            if not (call.prompt_tokens and call.output_tokens):  # it will be dropped
                stands_for.append(parents)
                sequences.append([])
                continue
            stands_for.append((at,))
            base, tokens = self._base(calls, call, parents, told)
            common = _head(sequences[base], tokens // BLOCK_TOKENS) if tokens else []
            blocks = (call.prompt_tokens + call.output_tokens) // BLOCK_TOKENS
            first = common.pop()[0] if common and common[-1][1] == self._ids else self._ids
            self._ids += blocks - tokens // BLOCK_TOKENS
            sequences.append([*common, (first, self._ids)])
            self._most += tokens // BLOCK_TOKENS * BLOCK_TOKENS
            self._prompt += call.prompt_tokens
        pairs = zip(sequences, calls, strict=True)
        runs = _runs([_head(spans, call.prompt_tokens // BLOCK_TOKENS) for spans, call in pairs])
        self._least += int(leading_seen(runs).sum()) * BLOCK_TOKENS
        assert runs.counts is not None
        parts = map(slice, runs.start[:-1], runs.start[1:])
        return [
            replace(call, ids=runs.ids[part], counts=runs.counts[part]) for call, part in zip(calls, parts, strict=True)
        ]

    def _base(self, calls: Sequence[Call], call: Call, parents: tuple[int, ...], told: int | None) -> tuple[int, int]:
        """(position, tokens): the parent whose first tokens are the call's first tokens too, and how many."""
        if not parents:
            self._unexplained += told or 0
            return 0, 0
        lengths = {at: calls[at].prompt_tokens + calls[at].output_tokens for at in parents}
        fitting = [at for at, length in lengths.items() if length <= call.prompt_tokens]
        if fitting:
            self._grown += 1
            base = max(fitting, key=lengths.__getitem__)
            return base, lengths[base]
        self._anew += 1
        base = max(lengths, key=lengths.__getitem__)
        tokens = min(told or 0, call.prompt_tokens, lengths[base])
        self._partly += tokens > 0
        return base, tokens


def _head(spans: list[_Span], blocks: int) -> list[_Span]:
    """The first blocks of a sequence."""
    found = []
    for first, end in spans:
        end = min(end, first + blocks)
        blocks -= end - first
        if end > first:
            found.append((first, end))
    return found


def _runs(prompts: list[list[_Span]]) -> Blocks:
    """Prompts as runs that all of them have whole, each named by its first block."""
    cuts = np.array(sorted({place for spans in prompts for span in spans for place in span}), np.int64)
    counts = np.diff(cuts)
    parts = [[slice(*np.searchsorted(cuts, span)) for span in spans] for spans in prompts]
    flat = list(chain.from_iterable(parts))
    start = starts(np.array([sum(part.stop - part.start for part in row) for row in parts], np.int64))
    ids, lengths = (np.concatenate([_NONE, *(values[part] for part in flat)]) for values in (cuts, counts))
    return Blocks(ids, start, BLOCK_TOKENS, lengths)
