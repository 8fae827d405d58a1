"""The tokens of requests: prompts made up so that equal blocks of a trace have equal tokens, and what was generated."""

import numpy as np
from numpy.typing import NDArray

from kvsim.traces.trace import Blocks, Trace

Ints = NDArray[np.int64]


class Texts:
    """Tokens by request. `prompt` overrides what is made up (request number -> tokens)."""

    def __init__(self, trace: Trace, vocab: int, prompts: dict[int, list[int]] | None = None) -> None:
        self._trace, self._vocab, self._prompts = trace, vocab, prompts or {}
        self._known: dict[int, list[int]] = {}

    def of(self, request: int) -> list[int]:
        """All tokens so far, to be read; `append` adds to them."""
        found = self._known.get(request)
        if found is None:
            given = self._prompts.get(request)
            found = self._known[request] = list(given) if given is not None else self._made_up(request)
        return found

    def append(self, request: int, token: int) -> None:
        """One more generated token."""
        self.of(request).append(token)

    def generated(self, request: int) -> list[int]:
        """What was generated so far."""
        return self.of(request)[int(self._trace.prompt_tokens[request]) :]

    def _made_up(self, request: int) -> list[int]:
        count = int(self._trace.prompt_tokens[request])
        seeds, offset = np.full(count, -1 - request, np.int64), np.arange(count)
        blocks = self._trace.blocks
        if blocks is not None:
            names, starts = _spread(blocks, request, count)
            seeds[: len(names)], offset[: len(names)] = names, starts
        return (_mixed(seeds, offset) % np.uint64(self._vocab)).astype(np.int64).tolist()


def _spread(blocks: Blocks, request: int, count: int) -> tuple[Ints, Ints]:
    """Of each token that the trace's ids cover: its id, and its place in that id's run."""
    part = slice(blocks.start[request], blocks.start[request + 1])
    ids = blocks.ids[part]
    many = np.ones(len(ids), np.int64) if blocks.counts is None else blocks.counts[part]
    tokens = many * blocks.tokens
    places = np.concatenate([np.arange(n) for n in tokens]) if len(tokens) else np.zeros(0, np.int64)
    return np.repeat(ids, tokens)[:count], places[:count]


def _mixed(a: Ints, b: Ints) -> NDArray[np.uint64]:
    """A hash of two integers (the finalizer of SplitMix64, Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        x = a.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + b.astype(np.uint64)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
        return x ^ (x >> np.uint64(31))
