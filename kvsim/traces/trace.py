"""A request trace as columns: what every reader and generator makes and the engine replays."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvsim.errors import UserError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
MAX_TOKENS = 2**30  # of one prompt or output; keeps sums of products inside 64 bits


@dataclass(frozen=True)
class Blocks:
    """Hashes of a trace's prompts: request i has `ids[start[i]:start[i + 1]]`, one a run of blocks of `tokens` tokens.

    Equal ids mean equal whole prefixes; the last id of a prompt may cover fewer tokens than its blocks, and a source
    that rounds down has no id for a prompt's tail. An id names one block, or `counts` blocks: a run that every request
    has whole, or up to its own end.
    """

    ids: Ints
    start: Ints
    tokens: int
    counts: Ints | None = None  # blocks of each entry of `ids`; None: one each
    covers: Ints | None = None  # tokens of each request that its ids name; None: its prompt

    def take(self, rows: NDArray[np.intp]) -> "Blocks":
        """The blocks of these requests, in this order."""
        source, start = taken(self.start, rows)
        counts = None if self.counts is None else self.counts[source]
        return Blocks(self.ids[source], start, self.tokens, counts, None if self.covers is None else self.covers[rows])


@dataclass(frozen=True)
class Sessions:
    """Which requests are one conversation or agent run, and what each of them waits for.

    In a closed loop request i is sent `gap_s[i]` seconds (think or tool time) after the last of its parents, requests
    `parents[start[i]:start[i + 1]]`, ended; one without parents at its `arrival_s`. Parents precede their children.

    Attributes:
        id: per request; requests of one session have the same.
        gap_s: per request, 0 without parents; None where the source does not tell it: open loop only.
        timed: False where the source has no stamps of later turns, whose `arrival_s` is then made up: closed loop only.
    """

    id: Ints
    parents: Ints
    start: Ints
    gap_s: Floats | None
    timed: bool = True

    def take(self, rows: NDArray[np.intp]) -> "Sessions":
        """These requests, in this order; a parent that is not among them, or not before its child, is waited for no
        more, and the child then has no gap if it has no other."""
        place = np.full(len(self.id), -1, np.int64)
        place[rows] = np.arange(len(rows))
        source, start = taken(self.start, rows)
        parents = place[self.parents[source]]
        child = np.repeat(np.arange(len(rows)), np.diff(start))
        kept = (parents >= 0) & (parents < child)
        counts = np.bincount(child[kept], minlength=len(rows))
        gap_s = None if self.gap_s is None else np.where(counts > 0, self.gap_s[rows], 0.0)
        return Sessions(self.id[rows], parents[kept], starts(counts), gap_s, self.timed)


@dataclass(frozen=True)
class Measured:
    """What a real server took for each request, in seconds since it arrived; NaN where the source does not say."""

    ttft_s: Floats
    e2e_s: Floats


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
    sessions: Sessions | None = None
    measured: Measured | None = None

    def __len__(self) -> int:
        return len(self.arrival_s)

    def head(self, count: int) -> "Trace":
        """The first `count` requests."""
        return self if count >= len(self) else self.take(np.arange(count))

    def take(self, rows: NDArray[np.intp]) -> "Trace":
        """These requests, in this order; `rows` must keep arrivals sorted, and times stay as they are."""
        measured = self.measured
        return replace(
            self,
            arrival_s=self.arrival_s[rows],
            prompt_tokens=self.prompt_tokens[rows],
            output_tokens=self.output_tokens[rows],
            blocks=self.blocks and self.blocks.take(rows),
            sessions=self.sessions and self.sessions.take(rows),
            measured=measured and Measured(measured.ttft_s[rows], measured.e2e_s[rows]),
        )


@dataclass(frozen=True)
class Chunk:
    """Some thousand consecutive rows of a source, as a reader yields them: arrays with one element a row.

    `arrival` counts units of 1/`units_per_s` s since any fixed moment; integers keep stamps exact that a double would
    round (nanoseconds since 1970). `line` is the row's line in the file. Block ids may be any integers that are equal
    where prefixes are; `parents` are numbers of rows as the reader yielded them, over all its chunks, from 0.
    """

    line: Ints
    arrival: Floats | Ints
    prompt_tokens: Ints
    output_tokens: Ints
    units_per_s: int = 1
    block_ids: Ints | None = None  # of all rows, one row after the other
    block_count: Ints | None = None  # per row
    block_lengths: Ints | None = None  # blocks of each of `block_ids`; None: one each
    session: Ints | None = None  # per row; with it come the next two
    parents: Ints | None = None  # of all rows, one row after the other
    parent_count: Ints | None = None  # per row
    gap_s: Floats | None = None  # per row
    ttft_s: Floats | None = None  # per row, as measured; with it comes the next
    e2e_s: Floats | None = None

    def __len__(self) -> int:
        return len(self.arrival)

    def keep(self, rows: NDArray[np.bool_]) -> "Chunk":
        """The chunk without the rows where `rows` is False. Not for chunks with sessions: see `traces.sessions`."""
        per_row = ("line", "arrival", "prompt_tokens", "output_tokens", "block_count", "ttft_s", "e2e_s")
        kept: dict[str, Any] = {name: column[rows] for name in per_row if (column := getattr(self, name)) is not None}
        if self.block_count is not None:
            ids = np.repeat(rows, self.block_count)
            for name in ("block_ids", "block_lengths"):
                if (column := getattr(self, name)) is not None:
                    kept[name] = column[ids]
        return replace(self, **kept)


def gather(
    name: str, chunks: list[Chunk], *, block_tokens: int = 0, timed: bool = True, notes: Iterable[str] = ()
) -> Trace:
    """One trace from a reader's chunks: sorted by arrival (rows that tie keep their order), checked, starting at 0 s.

    `chunks` is emptied, so that memory does not hold millions of rows twice.

    Raises:
        UserError: no rows, an arrival that is not finite, a prompt or output outside 1 to MAX_TOKENS tokens.
    """
    parts = [chunk for chunk in chunks if len(chunk)]
    chunks.clear()
    if not parts:
        raise UserError(f"{name}: has no requests")
    columns = _Columns(parts)
    del parts
    arrival, prompt, output = (columns.take(key) for key in ("arrival", "prompt_tokens", "output_tokens"))
    for problem, bad in _faults(arrival, prompt, output):
        if bad.any():
            raise UserError(f"{name}: request {int(np.argmax(bad)) + 1}: {problem}")
    trace = Trace(name, arrival, prompt, output, notes=tuple(notes), **_others(columns, block_tokens, timed))
    late = int(np.count_nonzero(arrival < np.maximum.accumulate(arrival)))
    if late:
        note = "sessions overlap: their rows are sorted by arrival"
        if not trace.sessions:
            note = f"{late:,} rows came after a row that arrives later: sorted by arrival"
        trace = replace(trace.take(np.argsort(arrival, kind="stable")), notes=(*trace.notes, note))
    return replace(trace, arrival_s=trace.arrival_s - trace.arrival_s[0])


class _Columns:
    """The columns of chunks, handed out one by one; arrivals in seconds since the first row's."""

    def __init__(self, parts: list[Chunk]) -> None:
        names = [field.name for field in fields(Chunk) if field.name not in ("line", "units_per_s")]
        self._parts: dict[str, list[Any]] = {name: [] for name in names}
        origin = parts[0].arrival[0]
        for part in parts:
            for name in names:
                self._parts[name].append(getattr(part, name))
            self._parts["arrival"][-1] = (part.arrival - origin) / part.units_per_s

    def has(self, name: str) -> bool:
        """Whether every chunk has this column."""
        return all(part is not None for part in self._parts[name])

    def take(self, name: str) -> Any:
        """The column; can be had once."""
        return np.concatenate(self._parts.pop(name))


def _others(columns: _Columns, block_tokens: int, timed: bool) -> dict[str, Any]:
    """Blocks, sessions and measured times, where the chunks have them."""
    found: dict[str, Any] = {}
    if block_tokens:
        lengths = columns.take("block_lengths") if columns.has("block_lengths") else None
        found["blocks"] = Blocks(columns.take("block_ids"), starts(columns.take("block_count")), block_tokens, lengths)
    if columns.has("session"):
        gap_s = columns.take("gap_s") if columns.has("gap_s") else None
        parent_start = starts(columns.take("parent_count"))
        found["sessions"] = Sessions(columns.take("session"), columns.take("parents"), parent_start, gap_s, timed)
    if columns.has("ttft_s"):
        found["measured"] = Measured(columns.take("ttft_s"), columns.take("e2e_s"))
    return found


def starts(counts: Ints) -> Ints:
    """Where each of consecutive groups of these sizes begins, and the end of the last."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def taken(start: Ints, rows: NDArray[np.intp]) -> tuple[Ints, Ints]:
    """(positions, start) of the entries of groups `rows`, of groups that begin at `start`."""
    counts = np.diff(start)[rows]
    begin = starts(counts)
    return np.repeat(start[:-1][rows] - begin[:-1], counts) + np.arange(begin[-1]), begin


def _faults(arrival: Floats, prompt: Ints, output: Ints) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    yield "arrival must be a finite number of seconds", ~np.isfinite(arrival)
    yield f"prompt must have 1 to {MAX_TOKENS} tokens", (prompt < 1) | (prompt > MAX_TOKENS)
    yield f"output must have 1 to {MAX_TOKENS} tokens", (output < 1) | (output > MAX_TOKENS)
