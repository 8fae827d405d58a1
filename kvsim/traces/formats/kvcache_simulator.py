"""Prefix traces of the package kvcache-simulator, JSON lines with their block size; hashes are numbers or texts.

Stamps (seconds) and output lengths are optional: a file has them in all rows, or in none.
"""

from collections.abc import Iterator
from typing import Any

from kvsim.errors import UserError
from kvsim.traces import fields
from kvsim.traces.blocksize import BlockSize, Names
from kvsim.traces.documents import as_list, as_object, documents, value_of
from kvsim.traces.source import Head, Source, show
from kvsim.traces.trace import Chunk
from kvsim.traces.turns import Turns

STRICT = False
_CLOCK = fields.time(1)
_MAX_BLOCK_TOKENS = 2**20


def sniff(head: Head) -> bool:
    return {"block_size", "hash_ids", "input_length"} <= set(head.keys)


def read(source: Source) -> Iterator[Chunk]:
    turns, names = Turns(source), Names()
    size: BlockSize | None = None
    tokens = 0
    for document in documents(source):
        row, where = as_object(document.value, document.where), document.where
        own = fields.whole(value_of(row, "block_size", where), f"{where}: block_size", _MAX_BLOCK_TOKENS)
        if size is None:
            tokens, size = own, BlockSize(source, (max(own, 1),))
        if own != tokens or not own:
            raise UserError(f"{where}: block_size must be {tokens or 'at least 1'}, as above, but got {own}")
        prompt = fields.whole(value_of(row, "input_length", where), f"{where}: input_length")
        output = fields.whole(row.get("output_length", 1), f"{where}: output_length")
        arrival = _CLOCK.one(row.get("timestamp", 0), f"{where}: timestamp")
        ids = [
            names.number(_hash(value, f"{where}: hash_ids[{at}]"))
            for at, value in enumerate(as_list(value_of(row, "hash_ids", where), f"{where}: hash_ids"))
        ]
        size.check_row(document.line, prompt, len(ids))
        _note_defaults(source, row)
        turns.add(document.line, None, arrival, prompt, output, ids=ids)
    source.notes.append(size.note if size else "")
    yield turns.chunk()


def _hash(value: Any, where: str) -> int | str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise UserError(f"{where} must be a whole number or a text, but got {show(value)}")
    return value


def _note_defaults(source: Source, row: dict[str, Any]) -> None:
    for key, what in (("timestamp", "stamps: those arrive at 0 s"), ("output_length", "lengths of outputs: 1 token")):
        line = f"rows without {what}"
        if key not in row and line not in source.notes:
            source.notes.append(line)
