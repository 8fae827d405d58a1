"""LLMServingSim traces, JSON lines with nanoseconds (github.com/casys-kaist/LLMServingSim).

Token ids, where a row has them, must be as many as it says; they are not used beyond that.
"""

from collections.abc import Iterator

from kvsim.errors import UserError
from kvsim.traces import fields
from kvsim.traces.rows import Layout, json_chunk, json_rows
from kvsim.traces.source import Head, Source
from kvsim.traces.trace import Chunk

STRICT = False
_LAYOUT = Layout("arrival_time_ns", "input_toks", "output_toks", fields.time(fields.UNITS_PER_S["ns"]))
_IDS = (("input_tok_ids", "input_toks"), ("output_tok_ids", "output_toks"))


def sniff(head: Head) -> bool:
    return {"arrival_time_ns", "input_toks"} <= set(head.keys)


def read(source: Source) -> Iterator[Chunk]:
    noted = False
    for rows in json_rows(source):
        chunk = json_chunk(source, rows, _LAYOUT)
        for line, row in rows:
            for ids, length in _IDS:
                if ids in row:
                    _check(row[ids], int(row[length]), f"{source.at(line)}: {ids}")
                    if not noted:
                        source.notes.append("token ids are not used: no prefix is shared")
                        noted = True
        yield chunk


def _check(ids: object, length: int, where: str) -> None:
    if not isinstance(ids, list) or len(ids) != length:
        found = f"{len(ids)} ids" if isinstance(ids, list) else "no list"
        raise UserError(f"{where} must be a list of {length} token ids, but holds {found}")
