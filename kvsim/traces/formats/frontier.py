"""Frontier's traces, Vidur's CSV with sessions and block hashes: ids of the engine's blocks, joined by `|`."""

from collections.abc import Iterator

from kvsim.traces import fields
from kvsim.traces.blocksize import BlockSize, Names
from kvsim.traces.rows import csv_rows
from kvsim.traces.source import Head, Source
from kvsim.traces.trace import Chunk
from kvsim.traces.turns import Turns

STRICT = False
_COLUMNS = ("arrived_at", "num_prefill_tokens", "num_decode_tokens", "session_id", "block_hash_ids")
_CLOCK = fields.time(1)


def sniff(head: Head) -> bool:
    return set(_COLUMNS) <= set(head.columns)


def read(source: Source) -> Iterator[Chunk]:
    turns, size, names = Turns(source), BlockSize(source, (16, 32, 64, 128), "block_hash_ids"), Names()
    for line, row in csv_rows(source, _COLUMNS):
        where = source.at(line)
        arrival = _CLOCK.one(row["arrived_at"], f"{where}: arrived_at")
        prompt, output = (fields.whole(row[name], f"{where}: {name}") for name in _COLUMNS[1:3])
        ids = [names.number(part.strip()) for part in row["block_hash_ids"].split("|") if part.strip()]
        size.check_row(line, prompt, len(ids))
        turns.add(line, row["session_id"].strip() or None, arrival, prompt, output, ids=ids)
    source.notes.append(size.note)
    yield turns.chunk()
