"""kvsim's own traces: what `kvsim trace import` and `generate` write, CSV or JSON lines with seconds.

CSV has the columns arrival_s, prompt_tokens and output_tokens. JSON lines have these keys, may have `block_ids`, and
begin with a line `{"kvsim_trace": 1, "block_tokens": 512, "notes": [...], "dropped": {...}}`; without ids block_tokens
is 0.
"""

from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np

from kvsim.errors import UserError
from kvsim.traces import fields
from kvsim.traces.rows import Layout, csv_chunks, json_chunk, json_rows
from kvsim.traces.source import Head, Source, show
from kvsim.traces.trace import Chunk

STRICT = True
VERSION = 1
COLUMNS = ("arrival_s", "prompt_tokens", "output_tokens")
BLOCKS = "block_ids"
_MAX_BLOCK_TOKENS = 2**20


def sniff(head: Head) -> bool:
    return "kvsim_trace" in head.keys or set(COLUMNS) <= set(head.columns)


def read(source: Source) -> Iterator[Chunk]:
    clock = fields.time(1)
    if not source.head.keys:
        yield from csv_chunks(source, Layout(*COLUMNS, clock))
        return
    batches = json_rows(source)
    first = next(batches)
    _take_header(source, *first[0])
    layout = Layout(*COLUMNS, clock, BLOCKS if source.block_tokens else None)
    for rows in chain([first[1:]], batches):
        chunk = json_chunk(source, rows, layout)
        _check_counts(source, chunk)
        yield chunk


def _check_counts(source: Source, chunk: Chunk) -> None:
    """Rows have prompt / block_tokens ids, rounded up or down."""
    if chunk.block_count is None:
        return
    whole, size = chunk.prompt_tokens // source.block_tokens, source.block_tokens
    wrong = (chunk.block_count != whole) & (chunk.block_count != -(-chunk.prompt_tokens // size))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise UserError(
            f"{source.at(int(chunk.line[row]))}: prompt_tokens {int(chunk.prompt_tokens[row])} with "
            f"{int(chunk.block_count[row])} {BLOCKS}: expected one for {size} tokens (block_tokens)"
        )


def _take_header(source: Source, line: int, header: dict[str, Any]) -> None:
    where = source.at(line)
    if header.get("kvsim_trace") != VERSION:
        raise UserError(f"{where}: kvsim_trace must be {VERSION}, but got {show(header.get('kvsim_trace'))}")
    source.block_tokens = fields.whole(header.get("block_tokens", 0), f"{where}: block_tokens", _MAX_BLOCK_TOKENS)
    notes, dropped = header.get("notes", []), header.get("dropped", {})
    if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
        raise UserError(f"{where}: notes must be a list of texts, but got {show(notes)}")
    if not isinstance(dropped, dict):
        raise UserError(f"{where}: dropped must be an object of counts, but got {show(dropped)}")
    source.notes.extend(notes)
    source.dropped.update({why: fields.whole(rows, f"{where}: dropped") for why, rows in dropped.items()})
