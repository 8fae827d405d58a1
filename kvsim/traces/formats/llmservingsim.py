"""LLMServingSim traces, JSON lines with nanoseconds (github.com/casys-kaist/LLMServingSim).

Where the rows have token ids, prompts share the blocks whose tokens are the same; there must be as many as a row says.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from kvsim.errors import UserError
from kvsim.traces import fields
from kvsim.traces.rows import Layout, Row, json_chunk, json_rows
from kvsim.traces.source import Head, Source
from kvsim.traces.tokens import BLOCK_TOKENS, TokenBlocks
from kvsim.traces.trace import Chunk

STRICT = False
_LAYOUT = Layout("arrival_time_ns", "input_toks", "output_toks", fields.time(fields.UNITS_PER_S["ns"]))
_TOKENS = "input_tok_ids"
_IDS = ((_TOKENS, "input_toks"), ("output_tok_ids", "output_toks"))
_MAX_TOKEN = 2**31


def sniff(head: Head) -> bool:
    return {"arrival_time_ns", "input_toks"} <= set(head.keys) and "sub_requests" not in head.keys


def read(source: Source) -> Iterator[Chunk]:
    blocks = TokenBlocks() if _TOKENS in source.head.keys else None
    if blocks:
        source.block_tokens = BLOCK_TOKENS
        source.notes.append(f"prompts share what their token ids share, in blocks of {BLOCK_TOKENS}, rounded down")
    for rows in json_rows(source):
        chunk = json_chunk(source, rows, _LAYOUT)
        for line, row in rows:
            for ids, length in _IDS:
                if ids in row:
                    _check(row[ids], int(row[length]), f"{source.at(line)}: {ids}")
            if (_TOKENS in row) != bool(blocks):
                raise UserError(f"{source.at(line)}: either all rows of a trace have {_TOKENS}, or none has")
        yield _with_blocks(source, rows, chunk, blocks) if blocks else chunk


def _with_blocks(source: Source, rows: list[Row], chunk: Chunk, blocks: TokenBlocks) -> Chunk:
    ids = []
    for line, row in rows:
        where = f"{source.at(line)}: {_TOKENS}"
        tokens = [fields.whole(value, f"{where}[{at}]", _MAX_TOKEN) for at, value in enumerate(row[_TOKENS])]
        ids.append(blocks.ids(tokens))
    counts = np.array([len(part) for part in ids], np.int64)
    flat = np.concatenate(ids) if ids else np.empty(0, np.int64)
    return replace(chunk, block_ids=flat, block_count=counts)


def _check(ids: Any, length: int, where: str) -> None:
    if not isinstance(ids, list) or len(ids) != length:
        found = f"{len(ids)} ids" if isinstance(ids, list) else "no list"
        raise UserError(f"{where} must be a list of {length} token ids, but holds {found}")
