"""Requests of OpenAI's API as JSON lines: `{"prompt": ...}` or `{"messages": [...]}`, or those as `body` of a batch.

A chat that ends with an answer is a call for that answer; otherwise a key says how long it is to be. Nothing says when:
the lengths serve generators (`lengths_from`).
"""

from collections.abc import Iterator
from typing import Any

from kvsim.errors import UserError
from kvsim.traces import fields
from kvsim.traces.documents import as_object, documents
from kvsim.traces.messages import ASSISTANT, Prompts, messages, no_arrivals
from kvsim.traces.sessions import Call, SessionChunks
from kvsim.traces.source import Head, Source, show, show_names
from kvsim.traces.trace import Chunk

STRICT = False
TEXT = True
_OUTPUTS = ("output_tokens", "output_length", "max_completion_tokens", "max_tokens")
_OTHERS = {"input_length", "input_tokens", "hash_ids", "requests", "timestamp", "session_id", "schema"}


def sniff(head: Head) -> bool:
    keys = set(head.keys)
    return bool(keys & {"prompt", "messages"} or {"custom_id", "body"} <= keys) and not keys & _OTHERS


def read(source: Source) -> Iterator[Chunk]:
    no_arrivals(source)
    prompts = Prompts(source)
    source.timed = False
    chunks = SessionChunks(source)
    for document in documents(source):
        row, where = as_object(document.value, document.where), document.where
        if "body" in row:
            row, where = as_object(row["body"], f"{where}: body"), f"{where}: body"
        prompt, output = _tokens(prompts, row, where)
        call = Call(document.line, 0, len(prompt), output)
        yield chunks.chunk([prompts.with_ids(call, prompt)])


def _tokens(prompts: Prompts, row: dict[str, Any], where: str) -> tuple[list[int], int]:
    """(prompt, length of the output)."""
    if "messages" in row:
        said = messages(row["messages"], f"{where}: messages")
        if said and said[-1][0] == ASSISTANT:
            return prompts.prompt(said[:-1]), len(prompts.text(said[-1][1]))
        return prompts.prompt(said), _output(row, where)
    if "prompt" not in row:
        raise UserError(f"{where}: has no 'prompt' and no 'messages'; there are: {show_names(row) or 'no keys'}")
    if not isinstance(row["prompt"], str):
        raise UserError(f"{where}: prompt must be a text, but got {show(row['prompt'])}")
    return prompts.text(row["prompt"]), _output(row, where)


def _output(row: dict[str, Any], where: str) -> int:
    for key in _OUTPUTS:
        if row.get(key) is not None:
            return fields.whole(row[key], f"{where}: {key}")
    raise UserError(f"{where}: has no answer, and none of {', '.join(_OUTPUTS)} says how long it is to be")
