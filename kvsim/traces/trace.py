"""A request trace as columns: what every reader and generator makes and the engine replays."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kvsim.errors import UserError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Blocks:
    """Hashes of a trace's prompts: request i has `ids[start[i]:start[i + 1]]`, one a run of `tokens` tokens.

    Equal ids mean equal whole prefixes; the last id of a prompt may cover fewer tokens than `tokens`.
    """

    ids: Ints
    start: Ints
    tokens: int


@dataclass(frozen=True)
class Trace:
    """Requests in order of arrival; the first arrives at 0 s. Every prompt and output has at least one token."""

    name: str
    arrival_s: Floats
    prompt_tokens: Ints
    output_tokens: Ints
    blocks: Blocks | None = None
    notes: tuple[str, ...] = field(default=())  # what the import assumed or dropped, one line each

    def __len__(self) -> int:
        return len(self.arrival_s)

    def head(self, count: int) -> "Trace":
        """The first `count` requests."""
        blocks = self.blocks
        if blocks:
            blocks = Blocks(blocks.ids[: blocks.start[min(count, len(self))]], blocks.start[: count + 1], blocks.tokens)
        columns = (self.arrival_s[:count], self.prompt_tokens[:count], self.output_tokens[:count])
        return Trace(self.name, *columns, blocks, self.notes)


@dataclass(frozen=True)
class Chunk:
    """Some thousand consecutive rows of a source, as a reader yields them: `block_ids` is a list per row."""

    arrival_s: list[float]
    prompt_tokens: list[int]
    output_tokens: list[int]
    block_ids: list[list[int]] | None = None


def gather(name: str, chunks: Iterable[Chunk], block_tokens: int = 0, notes: Iterable[str] = ()) -> Trace:
    """One trace from a reader's chunks, checked, its clock shifted to start at 0.

    Raises:
        UserError: no rows, a NaN or negative figure, a zero-token row, arrivals out of order.
    """
    parts = [_columns(chunk) for chunk in chunks if chunk.arrival_s]
    if not parts:
        raise UserError(f"{name}: has no requests")
    arrival, prompt, output = (np.concatenate([part[i] for part in parts]) for i in range(3))
    for problem, bad in _faults(arrival, prompt, output):
        if bad.any():
            raise UserError(f"{name}: request {int(np.argmax(bad)) + 1}: {problem}")
    blocks = None
    if block_tokens:
        ids = np.concatenate([part[3] for part in parts])
        counts = np.concatenate([part[4] for part in parts])
        blocks = Blocks(ids, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), block_tokens)
    return Trace(name, arrival - arrival[0], prompt, output, blocks, tuple(notes))


def _columns(chunk: Chunk) -> tuple[Floats, Ints, Ints, Ints, Ints]:
    rows = chunk.block_ids or []
    return (
        np.asarray(chunk.arrival_s, np.float64),
        np.asarray(chunk.prompt_tokens, np.int64),
        np.asarray(chunk.output_tokens, np.int64),
        np.asarray([block for row in rows for block in row], np.int64),
        np.asarray([len(row) for row in rows], np.int64),
    )


def _faults(arrival: Floats, prompt: Ints, output: Ints) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    yield "arrival must be a finite number of seconds, at least 0", ~(np.isfinite(arrival) & (arrival >= 0))
    yield "prompt must have at least 1 token", prompt < 1
    yield "output must have at least 1 token", output < 1
    yield "arrives before the request above it", np.concatenate([[False], np.diff(arrival) < 0])
