"""kvsim's own traces: what `kvsim trace import` and `generate` write, CSV or JSON lines with seconds.

CSV has the columns arrival_s, prompt_tokens and output_tokens. JSON lines have these keys and begin with a line

    {"kvsim_trace": 1, "block_tokens": 512, "counted": false, "sessions": "", "measured": false, "notes": [...],
     "dropped": {...}}

which says what else each row has: `block_ids` unless block_tokens is 0; `block_counts`, the blocks of each id, if
counted; `session` and `parents` (row numbers from 0) if sessions is "timed", "closed" (arrivals of later turns are made
up) or "open" (without `gap_s`); `ttft_s` and `e2e_s`, null where unknown, if measured.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np

from kvsim.errors import UserError
from kvsim.traces import fields
from kvsim.traces.documents import value_of
from kvsim.traces.rows import Layout, Row, csv_chunks, json_chunk, json_rows, whole_list
from kvsim.traces.source import Head, Source, show
from kvsim.traces.trace import Chunk, Floats, Ints

STRICT = True
VERSION = 1
COLUMNS = ("arrival_s", "prompt_tokens", "output_tokens")
BLOCKS, COUNTS = "block_ids", "block_counts"
SESSIONS = ("", "timed", "closed", "open")
_MAX_BLOCK_TOKENS = 2**20
_MAX_COUNT = 2**30


def sniff(head: Head) -> bool:
    return "kvsim_trace" in head.keys or set(COLUMNS) <= set(head.columns)


def read(source: Source) -> Iterator[Chunk]:
    clock = fields.time(1)
    if "kvsim_trace" not in source.head.keys:
        yield from csv_chunks(source, Layout(*COLUMNS, clock))
        return
    batches = json_rows(source)
    first = next(batches)
    header = first[0][1]
    _take_header(source, *first[0])
    layout = Layout(*COLUMNS, clock, BLOCKS if source.block_tokens else None)
    for rows in chain([first[1:]], batches):
        chunk = json_chunk(source, rows, layout)
        if header.get("counted"):
            chunk = replace(chunk, block_lengths=_counts(source, rows, chunk))
        if header.get("sessions"):
            chunk = _with_sessions(source, rows, chunk, header["sessions"])
        if header.get("measured"):
            ttft_s, e2e_s = (_measured(source, rows, name) for name in ("ttft_s", "e2e_s"))
            chunk = replace(chunk, ttft_s=ttft_s, e2e_s=e2e_s)
        _check_counts(source, chunk)
        yield chunk


def _counts(source: Source, rows: list[Row], chunk: Chunk) -> Ints:
    """How many blocks each id stands for."""
    assert chunk.block_count is not None
    counts: list[int] = []
    for (line, row), ids in zip(rows, chunk.block_count.tolist(), strict=True):
        found = whole_list(row, COUNTS, source.at(line), _MAX_COUNT)
        if len(found) != ids or 0 in found:
            raise UserError(f"{source.at(line)}: {COUNTS} must be {ids} numbers from 1, one for each of {BLOCKS}")
        counts += found
    return np.array(counts, np.int64)


def _with_sessions(source: Source, rows: list[Row], chunk: Chunk, kind: str) -> Chunk:
    session, parents, counts, gaps = [], [], [], []
    for line, row in rows:
        where = source.at(line)
        session.append(fields.whole(value_of(row, "session", where), f"{where}: session", 2**62))
        found = whole_list(row, "parents", where, 2**62)
        if any(parent >= source.rows for parent in found):
            raise UserError(f"{where}: parents must be rows above this one, which is row {source.rows}")
        source.rows += 1
        parents += found
        counts.append(len(found))
        if kind != "open":
            gaps.append(fields.seconds(value_of(row, "gap_s", where), f"{where}: gap_s"))
    gap_s = None if kind == "open" else np.array(gaps, np.float64)
    return replace(
        chunk,
        session=np.array(session, np.int64),
        parents=np.array(parents, np.int64),
        parent_count=np.array(counts, np.int64),
        gap_s=gap_s,
    )


def _measured(source: Source, rows: list[Row], name: str) -> Floats:
    found = [float("nan")] * len(rows)
    for at, (line, row) in enumerate(rows):
        value = value_of(row, name, source.at(line))
        if value is not None:
            found[at] = fields.seconds(value, f"{source.at(line)}: {name}")
    return np.array(found, np.float64)


def _check_counts(source: Source, chunk: Chunk) -> None:
    """Rows have prompt / block_tokens blocks, rounded up or down."""
    if chunk.block_count is None:
        return
    blocks = chunk.block_count
    if chunk.block_lengths is not None:
        row = np.repeat(np.arange(len(chunk)), chunk.block_count)
        blocks = np.bincount(row, chunk.block_lengths, len(chunk)).astype(np.int64)
    whole, size = chunk.prompt_tokens // source.block_tokens, source.block_tokens
    wrong = (blocks != whole) & (blocks != -(-chunk.prompt_tokens // size))
    if wrong.any():
        at = int(np.argmax(wrong))
        raise UserError(
            f"{source.at(int(chunk.line[at]))}: prompt_tokens {int(chunk.prompt_tokens[at])} with "
            f"{int(blocks[at])} {BLOCKS}: expected one for {size} tokens (block_tokens)"
        )


def _take_header(source: Source, line: int, header: dict[str, Any]) -> None:
    where = source.at(line)
    if header.get("kvsim_trace") != VERSION:
        raise UserError(f"{where}: kvsim_trace must be {VERSION}, but got {show(header.get('kvsim_trace'))}")
    source.block_tokens = fields.whole(header.get("block_tokens", 0), f"{where}: block_tokens", _MAX_BLOCK_TOKENS)
    kind = header.get("sessions", "")
    if kind not in SESSIONS:
        raise UserError(f"{where}: sessions must be one of {', '.join(filter(None, SESSIONS))}, but got {show(kind)}")
    source.timed = kind != "closed"
    for key in ("counted", "measured"):
        if not isinstance(header.get(key, False), bool):
            raise UserError(f"{where}: {key} must be true or false, but got {show(header[key])}")
    notes, dropped = header.get("notes", []), header.get("dropped", {})
    if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
        raise UserError(f"{where}: notes must be a list of texts, but got {show(notes)}")
    if not isinstance(dropped, dict):
        raise UserError(f"{where}: dropped must be an object of counts, but got {show(dropped)}")
    source.notes.extend(notes)
    source.dropped.update({why: fields.whole(rows, f"{where}: dropped") for why, rows in dropped.items()})
