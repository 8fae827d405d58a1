"""Retrieval-augmented requests: some chunks of a corpus, popular ones often, before a question."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field, model_validator

from kvsim.specs.load import Spec
from kvsim.traces.arrivals import arrival_parts
from kvsim.traces.draw import lengths
from kvsim.traces.laws import Arrivals, Length
from kvsim.traces.trace import MAX_TOKENS, Blocks, Ints, Trace, starts

if TYPE_CHECKING:
    from kvsim.traces.workload import Generate

_ROWS = 10_000  # drawn together
_SPARE = 4  # draws for each chunk that is wanted, since some come twice


class Rag(Spec):
    """A prompt is a system prompt, `chunks` different ones of `corpus` chunks, and a question of its own.

    Chunk k of the corpus is retrieved in proportion to 1 / k^zipf. `order` is that of the prompt: "permuted" at random,
    or "sorted" by popularity, so that prompts with the same popular chunks share a prefix. A block's id stands for all
    that comes before it: a chunk behind other chunks is not reused.
    """

    arrivals: Arrivals
    corpus: int = Field(ge=1, le=100_000_000)
    chunks: int = Field(default=5, ge=1, le=1000)
    chunk_tokens: int = Field(default=512, ge=1, le=2**20)
    zipf: float = Field(default=1.0, ge=0, le=10)
    order: Literal["permuted", "sorted"] = "permuted"
    system_tokens: int = Field(default=256, ge=0, le=MAX_TOKENS // 2)
    question: Length
    answer: Length
    block_tokens: int = Field(default=16, ge=1, le=2**20)

    @model_validator(mode="after")
    def _fits(self) -> "Rag":
        if self.chunks > self.corpus:
            raise ValueError(f"chunks must be at most the corpus of {self.corpus}, but got {self.chunks}")
        if self.arrivals.process == "trace":
            raise ValueError("arrivals of rag must be drawn, not those of a trace")
        if self.system_tokens + self.chunks * self.chunk_tokens > MAX_TOKENS // 2:
            raise ValueError(f"system prompt and chunks must have at most {MAX_TOKENS // 2} tokens")
        return self


def make(spec: Rag, generate: "Generate", seed: int, name: str, folder: Path) -> Trace:
    """`generate.requests` requests."""
    count = generate.requests
    for_arrivals, for_chunks, for_question, for_answer = np.random.default_rng(seed).spawn(4)
    arrival_s = np.concatenate(list(arrival_parts(spec.arrivals, count, for_arrivals)))
    question = np.minimum(lengths(spec.question, count, for_question), MAX_TOKENS // 2)
    chunk = _retrieved(spec, count, for_chunks, seed)
    prompt = spec.system_tokens + spec.chunks * spec.chunk_tokens + question
    answer = lengths(spec.answer, count, for_answer)
    return Trace(name, arrival_s - arrival_s[0], prompt, answer, _blocks(spec, chunk, prompt))


def _retrieved(spec: Rag, count: int, rng: np.random.Generator, seed: int) -> Ints:
    """[count, chunks]: different chunks of each request, in the order of its prompt."""
    bounds = np.cumsum(np.arange(1, spec.corpus + 1, dtype=np.float64) ** -spec.zipf)
    found = np.empty((count, spec.chunks), np.int64)
    for at in range(0, count, _ROWS):
        many = min(_ROWS, count - at)
        uniform = rng.random((many, spec.chunks * _SPARE + 1))
        drawn = np.searchsorted(bounds[:-1], uniform[:, 1:] * bounds[-1], side="right")
        for row, chunks in enumerate(drawn):
            found[at + row] = _different(chunks, bounds, spec.chunks, (seed, at + row))
    if spec.order == "sorted":
        found.sort(axis=1)
        return found
    return np.random.default_rng([seed, 1]).permuted(found, axis=1)


def _different(drawn: Ints, bounds: "np.typing.NDArray[np.float64]", count: int, seed: tuple[int, int]) -> Ints:
    """The first `count` different ones of `drawn`, and of more draws where there are too few."""
    chosen = dict.fromkeys(drawn.tolist())
    if len(chosen) < count:
        rng = np.random.default_rng(seed)
        for _ in range(100):
            more = np.searchsorted(bounds[:-1], rng.random(16 * count) * bounds[-1], side="right")
            chosen |= dict.fromkeys(more.tolist())
            if len(chosen) >= count:
                break
        chosen |= dict.fromkeys(range(2 * count if len(chosen) < count else 0))  # the law leaves hardly any others
    return np.array(list(chosen)[:count], np.int64)


def _blocks(spec: Rag, chunk: Ints, prompt: Ints) -> Blocks:
    """A run for the system prompt, for each chunk behind those before it, and for the question."""
    size, (count, many) = spec.block_tokens, chunk.shape
    ends = (spec.system_tokens + np.arange(many + 1) * spec.chunk_tokens) // size  # blocks that end in each part
    ids = np.empty((count, many + 2), np.int64)
    row = np.arange(count)
    ids[:, 0] = 0
    ids[:, -1] = 1 + row * (many + 1)
    behind = np.zeros(count, np.int64)  # the same for requests with the same chunks so far
    for at in range(many):
        _, first, which = np.unique(behind * spec.corpus + chunk[:, at], return_index=True, return_inverse=True)
        behind = first[which]  # the first request that has them: later ones do not change it
        ids[:, at + 1] = 2 + at + behind * (many + 1)
    counts = np.empty_like(ids)
    counts[:, 0] = ends[0]
    counts[:, 1:-1] = np.diff(ends)
    counts[:, -1] = prompt // size - ends[-1]
    some = counts > 0
    return Blocks(ids[some], starts(some.sum(axis=1)), size, counts[some])
