"""A request trace as columns: what every reader and generator makes and the engine replays."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from kvsim.errors import UserError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
MAX_TOKENS = 2**30  # of one prompt or output; keeps sums of products inside 64 bits


@dataclass(frozen=True)
class Blocks:
    """Hashes of a trace's prompts: request i has `ids[start[i]:start[i + 1]]`, one a run of `tokens` tokens.

    Equal ids mean equal whole prefixes; the last id of a prompt may cover fewer tokens than `tokens`, and a source that
    rounds down has no id for a prompt's tail.
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
    dropped: Mapping[str, int] = field(default_factory=dict)  # why -> rows of the source that are not here

    def __len__(self) -> int:
        return len(self.arrival_s)

    def head(self, count: int) -> "Trace":
        """The first `count` requests."""
        columns = (self.arrival_s[:count], self.prompt_tokens[:count], self.output_tokens[:count])
        blocks = self.blocks
        if blocks:
            blocks = Blocks(blocks.ids[: blocks.start[min(count, len(self))]], blocks.start[: count + 1], blocks.tokens)
        return Trace(self.name, *columns, blocks, self.notes, self.dropped)


@dataclass(frozen=True)
class Chunk:
    """Some thousand consecutive rows of a source, as a reader yields them: arrays with one element a row.

    `arrival` counts units of 1/`units_per_s` s since any fixed moment; integers keep stamps exact that a double would
    round (nanoseconds since 1970). `line` is the row's line in the file.
    """

    line: Ints
    arrival: Floats | Ints
    prompt_tokens: Ints
    output_tokens: Ints
    units_per_s: int = 1
    block_ids: Ints | None = None  # of all rows, one row after the other
    block_count: Ints | None = None  # per row

    def __len__(self) -> int:
        return len(self.arrival)

    def keep(self, rows: NDArray[np.bool_]) -> "Chunk":
        """The chunk without the rows where `rows` is False."""
        part = replace(
            self,
            line=self.line[rows],
            arrival=self.arrival[rows],
            prompt_tokens=self.prompt_tokens[rows],
            output_tokens=self.output_tokens[rows],
        )
        if self.block_ids is None or self.block_count is None:
            return part
        ids = self.block_ids[np.repeat(rows, self.block_count)]
        return replace(part, block_ids=ids, block_count=self.block_count[rows])


def gather(name: str, chunks: Iterable[Chunk], *, block_tokens: int = 0, notes: Iterable[str] = ()) -> Trace:
    """One trace from a reader's chunks: sorted by arrival (rows that tie keep their order), checked, starting at 0 s.

    Raises:
        UserError: no rows, an arrival that is not finite, a prompt or output outside 1 to MAX_TOKENS tokens.
    """
    parts = [chunk for chunk in chunks if len(chunk)]
    if not parts:
        raise UserError(f"{name}: has no requests")
    origin = parts[0].arrival[0]
    arrival = np.concatenate([(part.arrival - origin) / part.units_per_s for part in parts])
    prompt = np.concatenate([part.prompt_tokens for part in parts])
    output = np.concatenate([part.output_tokens for part in parts])
    for problem, bad in _faults(arrival, prompt, output):
        if bad.any():
            raise UserError(f"{name}: request {int(np.argmax(bad)) + 1}: {problem}")
    blocks = None
    if block_tokens:
        ids = np.concatenate([part.block_ids for part in parts if part.block_ids is not None])
        counts = np.concatenate([part.block_count for part in parts if part.block_count is not None])
        blocks = Blocks(ids, _starts(counts), block_tokens)
    late = int(np.count_nonzero(arrival < np.maximum.accumulate(arrival)))
    if late:
        notes = (*notes, f"{late:,} rows came after a row that arrives later: sorted by arrival")
        order = np.argsort(arrival, kind="stable")
        arrival, prompt, output = arrival[order], prompt[order], output[order]
        blocks = blocks and _reorder(blocks, order)
    return Trace(name, arrival - arrival[0], prompt, output, blocks, tuple(notes))


def _starts(counts: Ints) -> Ints:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _reorder(blocks: Blocks, order: NDArray[np.intp]) -> Blocks:
    counts = np.diff(blocks.start)[order]
    start = _starts(counts)
    source = np.repeat(blocks.start[:-1][order] - start[:-1], counts) + np.arange(start[-1])
    return Blocks(blocks.ids[source], start, blocks.tokens)


def _faults(arrival: Floats, prompt: Ints, output: Ints) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    yield "arrival must be a finite number of seconds", ~np.isfinite(arrival)
    yield f"prompt must have 1 to {MAX_TOKENS} tokens", (prompt < 1) | (prompt > MAX_TOKENS)
    yield f"output must have 1 to {MAX_TOKENS} tokens", (output < 1) | (output > MAX_TOKENS)
