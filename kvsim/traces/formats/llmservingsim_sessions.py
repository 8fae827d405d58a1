"""LLMServingSim's agent sessions, a JSON line each (github.com/casys-kaist/LLMServingSim).

A session's calls follow each other: each is sent `tool_duration_ns` of the call before after that ended. Requests that
are no sessions may stand between them. Prompts share what their token ids share; without ids, what growth says.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from kvsim.errors import UserError
from kvsim.traces import fields
from kvsim.traces.documents import Document, as_list, as_object, documents, value_of
from kvsim.traces.growth import BLOCK_TOKENS, Growth
from kvsim.traces.sessions import Call, SessionChunks
from kvsim.traces.source import Head, Source
from kvsim.traces.tokens import TokenBlocks
from kvsim.traces.trace import Chunk

STRICT = False
_CLOCK = fields.time(fields.UNITS_PER_S["ns"])
_MAX_TOKEN = 2**31


def sniff(head: Head) -> bool:
    return {"sub_requests", "arrival_time_ns"} <= set(head.keys)


def read(source: Source) -> Iterator[Chunk]:
    source.block_tokens, source.timed = BLOCK_TOKENS, False
    growth, blocks = Growth(), TokenBlocks()
    chunks = SessionChunks(source, _CLOCK.units_per_s)
    has_tokens: bool | None = None
    for document in documents(source):
        calls, tokens = _session(document)
        if calls and has_tokens is None:
            has_tokens = tokens[0] is not None
        if any((prompt is not None) != has_tokens for prompt in tokens):
            raise UserError(f"{document.where}: either all calls of a trace have input_tok_ids, or none has")
        if has_tokens:
            given = (prompt or [] for prompt in tokens)
            calls = [replace(call, ids=blocks.ids(prompt)) for call, prompt in zip(calls, given, strict=True)]
            source.notes = [f"prompts share what their token ids share, in blocks of {BLOCK_TOKENS}"]
        else:
            calls = growth.ids(calls)
            source.notes = growth.notes()
        yield chunks.chunk(calls)


def _session(document: Document) -> tuple[list[Call], list[list[int] | None]]:
    """A line's calls, and the tokens of each one's prompt if it has them."""
    where = document.where
    row = as_object(document.value, where)
    arrival = _CLOCK.one(value_of(row, "arrival_time_ns", where), f"{where}: arrival_time_ns")
    entries = [(where, row)]
    if "sub_requests" in row:
        values = enumerate(as_list(row["sub_requests"], f"{where}: sub_requests"))
        entries = [(at, as_object(value, at)) for at, value in ((f"{where}: sub_requests[{n}]", v) for n, v in values)]
    calls: list[Call] = []
    tokens = []
    wait_s = 0.0
    for number, (at, entry) in enumerate(entries):
        prompt, output = (
            fields.whole(value_of(entry, key, at), f"{at}: {key}") for key in ("input_toks", "output_toks")
        )
        parents = (number - 1,) if number else ()
        calls.append(Call(document.line, arrival, prompt, output, parents, wait_s))
        tokens.append(_tokens(entry.get("input_tok_ids"), prompt, f"{at}: input_tok_ids"))
        wait_s = _CLOCK.one(entry.get("tool_duration_ns", 0), f"{at}: tool_duration_ns") / _CLOCK.units_per_s
    return calls, tokens


def _tokens(ids: Any, length: int, where: str) -> list[int] | None:
    if ids is None:
        return None
    if len(as_list(ids, where)) != length:
        raise UserError(f"{where} must be a list of {length} token ids, but holds {len(ids)}")
    return [fields.whole(value, f"{where}[{at}]", _MAX_TOKEN) for at, value in enumerate(ids)]
