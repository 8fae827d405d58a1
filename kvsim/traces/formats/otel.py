"""OpenTelemetry spans of model calls (GenAI semantic conventions): JSON with `spans`, a span on each line, or OTLP.

A session is a conversation (`gen_ai.conversation.id` or `session.id`), else a trace. A call waits for those of its
session that had ended when it began, and for none that one of these had waited for; so calls that overlap are parallel.
Token counts come from `gen_ai.usage.*`, and prompts then share what growth says; or from texts, with a tokenizer.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from kvsim.errors import UserError
from kvsim.traces import fields, otlp
from kvsim.traces.documents import as_list, as_object, documents, value_of
from kvsim.traces.growth import BLOCK_TOKENS, Growth
from kvsim.traces.messages import Prompts, messages, plain
from kvsim.traces.sessions import Call, SessionChunks
from kvsim.traces.source import Head, Source, show
from kvsim.traces.trace import Chunk

STRICT = False
TEXT = True
_CLOCK = fields.stamps()
_SESSION = ("gen_ai.conversation.id", "session.id", "exgentic.session.id")
_INPUT = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
_OUTPUT = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")
_ASKED, _ANSWERED = ("gen_ai.input.messages", "gen_ai.prompt"), ("gen_ai.output.messages", "gen_ai.output.text")
_CALLS = ("chat", "text_completion", "generate_content")
_ERRORS = (2, "2", "ERROR", "STATUS_CODE_ERROR")


@dataclass(frozen=True)
class _Span:
    """A model call. `prompt` and `output` are tokens."""

    line: int
    begin: int
    end: int
    prompt: int
    output: int
    tokens: list[int] | None  # of the prompt, where they were counted


def sniff(head: Head) -> bool:
    keys = set(head.keys)
    return bool(keys & {"spans", otlp.SPANS}) or {"span_id", "attributes"} <= keys


def read(source: Source) -> Iterator[Chunk]:
    source.block_tokens = BLOCK_TOKENS
    sessions: dict[str, list[_Span]] = {}
    prompts = None if source.tokenizer is None else Prompts(source)
    others = 0
    for where, line, span in _spans(source):
        found = _call(source, prompts, span, where, line)
        if found is None:
            others += 1
        else:
            session, call = found
            sessions.setdefault(session, []).append(call)
    growth = Growth()
    chunks = SessionChunks(source, _CLOCK.units_per_s, measured=True)
    notes = [*source.notes, "a call waits for all of its session that had ended when it began"]
    if others:
        notes.append(f"{others:,} spans are no model calls: left out")
    for spans in sessions.values():
        spans.sort(key=lambda span: (span.begin, span.end))
        calls = _calls(spans)
        if prompts:
            calls = [prompts.with_ids(call, span.tokens or []) for call, span in zip(calls, spans, strict=True)]
        else:
            calls = growth.ids(calls)
        source.notes = [*notes, *(() if prompts else growth.notes())]
        yield chunks.chunk(calls)


def _spans(source: Source) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """(where, line, span) of all documents: objects with `spans`, or spans, or lists of either."""
    for document in documents(source):
        values = document.value if isinstance(document.value, list) else [document.value]
        for at, value in enumerate(values):
            where = document.where if value is document.value else f"{document.where}: [{at}]"
            entry = as_object(value, where)
            if otlp.SPANS in entry:
                yield from ((place, document.line, span) for place, span in otlp.spans(entry, where))
                continue
            if "spans" not in entry:
                yield where, document.line, entry
                continue
            for number, span in enumerate(as_list(entry["spans"], f"{where}: spans")):
                name = f"{where}: spans[{number}]"
                yield name, document.line, as_object(span, name)


def _call(
    source: Source, prompts: Prompts | None, span: dict[str, Any], where: str, line: int
) -> tuple[str, _Span] | None:
    """(session, span) of a model call; None for other spans."""
    attributes = as_object(value_of(span, "attributes", where), f"{where}: attributes")
    operation = attributes.get("gen_ai.operation.name")
    if not any(key in attributes for key in ("gen_ai.request.model", *_INPUT, *_ASKED)):
        return None
    if operation is not None and operation not in _CALLS:
        return None
    begin, end = (_time(span, key, where) for key in ("start_time", "end_time"))
    if end < begin:
        raise UserError(f"{where}: end_time {show(span['end_time'])} is before start_time {show(span['start_time'])}")
    session = next((attributes[key] for key in _SESSION if key in attributes), span.get("trace_id"))
    if not isinstance(session, str):
        raise UserError(f"{where}: must have a trace_id that is a text, but got {show(session)}")
    status = span.get("status")
    failed = isinstance(status, dict) and status.get("code") in _ERRORS
    asked = _first(attributes, _ASKED)
    tokens = None
    if prompts and asked is not None:
        tokens = prompts.prompt(messages(_parsed(asked), f"{where}: {_ASKED[0]}"))
        prompt, output = len(tokens), len(prompts.text(_answer(attributes)))
    elif _first(attributes, _INPUT) is not None or failed:
        prompt, output = (
            fields.whole(_count(attributes, keys, failed), f"{where}: {keys[0]}") for keys in (_INPUT, _OUTPUT)
        )
        if prompts and prompt and output:
            raise UserError(f"{where}: has token counts but no {_ASKED[0]}: read it without --tokenizer")
    elif asked is not None:
        Prompts(source)  # says what is missing
        raise AssertionError
    else:
        raise UserError(f"{where}: has neither {_INPUT[0]} nor {_ASKED[0]}")
    return session, _Span(line, begin, end, prompt, output, tokens)


def _time(span: dict[str, Any], key: str, where: str) -> int:
    """Nanoseconds since 1970; OTLP has them already."""
    value = value_of(span, key, where)
    return (
        int(value)
        if "startTimeUnixNano" in span and isinstance(value, int)
        else int(_CLOCK.one(value, f"{where}: {key}"))
    )


def _count(attributes: dict[str, Any], keys: tuple[str, ...], failed: bool) -> Any:
    count = _first(attributes, keys)
    return 0 if count is None and failed else count


def _answer(attributes: dict[str, Any]) -> str:
    answer = _parsed(_first(attributes, _ANSWERED))
    if isinstance(answer, list) and all(isinstance(entry, dict) and "role" in entry for entry in answer):
        return "".join(text for _, text in messages(answer, _ANSWERED[0]))
    return plain(answer, _ANSWERED[0])


def _first(attributes: dict[str, Any], keys: tuple[str, ...]) -> Any:
    return next((attributes[key] for key in keys if attributes.get(key) is not None), None)


def _parsed(value: Any) -> Any:
    """Messages are JSON, or a text that holds it."""
    if isinstance(value, str):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    return value


def _calls(spans: list[_Span]) -> list[Call]:
    """Spans in order of their begin as calls."""
    begins, ends = (np.array([getattr(span, name) for span in spans], np.int64) for name in ("begin", "end"))
    calls: list[Call] = []
    for at, span in enumerate(spans):
        ended = np.flatnonzero(ends[:at] <= span.begin)
        # one that ended before another of them began is waited for by that one
        parents = ended[ends[ended] >= begins[ended].max()] if len(ended) else ended
        gap_s = (span.begin - int(ends[parents].max(initial=0))) / _CLOCK.units_per_s if len(parents) else 0.0
        e2e_s = (span.end - span.begin) / _CLOCK.units_per_s
        waits = tuple(parents.tolist())
        calls.append(Call(span.line, span.begin, span.prompt, span.output, waits, gap_s, e2e_s=e2e_s))
    return calls
