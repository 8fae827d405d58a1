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

from kvsim.traces.runs import by_request
from kvsim.traces.sessions import Call
from kvsim.traces.stats import leading_seen
from kvsim.traces.trace import Blocks, Ints, starts

BLOCK_TOKENS = 16
_NONE = np.empty(0, np.int64)


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
        sequences: list[Ints] = []  # ids of the whole blocks of each call's prompt and output
        stands_for: list[tuple[int, ...]] = []  # of each call: itself, or what it waited for if it has no tokens
        for at, call in enumerate(calls):
            told = shared_tokens[at] if shared_tokens else None
            parents = tuple(chain.from_iterable(stands_for[parent] for parent in call.parents))
            stands_for.append((at,) if call.prompt_tokens and call.output_tokens else parents)
            base, tokens = self._base(calls, call, parents, told)
            common = sequences[base][: tokens // BLOCK_TOKENS] if tokens else _NONE
            self._most += len(common) * BLOCK_TOKENS
            blocks = (call.prompt_tokens + call.output_tokens) // BLOCK_TOKENS
            new = np.arange(self._ids, self._ids + blocks - len(common))
            self._ids += len(new)
            sequences.append(np.concatenate([common, new]))
        prompts = [ids[: call.prompt_tokens // BLOCK_TOKENS] for ids, call in zip(sequences, calls, strict=True)]
        start = starts(np.array([len(ids) for ids in prompts], np.int64))
        self._least += (
            int(leading_seen(Blocks(np.concatenate([_NONE, *prompts]), start, BLOCK_TOKENS)).sum()) * BLOCK_TOKENS
        )
        self._prompt += sum(call.prompt_tokens for call in calls)
        runs = by_request(prompts)
        return [replace(call, ids=ids, counts=counts) for call, (ids, counts) in zip(calls, runs, strict=True)]

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
