"""NVIDIA Dynamo's request traces, JSON lines of events (schema dynamo.request.trace.v1, and dynamo.agent.trace.v1).

Ended requests are read, with their measured latencies; other events are counted. Hashes are 64-bit numbers. What a
request generated has no hashes in it.
"""

from collections.abc import Iterator
from typing import Any

from kvsim.errors import UserError
from kvsim.traces import fields
from kvsim.traces.blocksize import BlockSize, Names
from kvsim.traces.documents import as_list, as_object, documents, value_of
from kvsim.traces.source import Head, Source, show
from kvsim.traces.trace import Chunk
from kvsim.traces.turns import NAN, Turns

STRICT = False
_SCHEMAS = ("dynamo.request.trace.v1", "dynamo.agent.trace.v1")
_CLOCK = fields.time(fields.UNITS_PER_S["ms"])
_MAX_HASH = 2**64 - 1
_MAX_BLOCK_TOKENS = 2**20


def sniff(head: Head) -> bool:
    return {"schema", "event_type"} <= set(head.keys) or set(head.keys) == {"event"}


def read(source: Source) -> Iterator[Chunk]:
    turns, names = Turns(source, _CLOCK.units_per_s), Names()
    size: BlockSize | None = None
    for document in documents(source):
        where = document.where
        event = as_object(document.value, where)
        event = as_object(event.get("event", event), f"{where}: event")
        if (schema := value_of(event, "schema", where)) not in _SCHEMAS:
            raise UserError(f"{where}: schema must be {' or '.join(_SCHEMAS)}, but got {show(schema)}")
        if event.get("event_type") != "request_end":
            source.dropped["events that are not the end of a request"] += 1
            continue
        request = as_object(value_of(event, "request", where), f"{where}: request")
        prompt, ids, tokens = _prompt(request, f"{where}: request", names)
        if not len(turns) and tokens:
            size = BlockSize(source, (tokens,), "input_sequence_hashes")
        if bool(tokens) != bool(size):
            raise UserError(f"{where}: either all requests of a trace have `replay` hashes, or none has")
        if size:
            size.check_row(document.line, prompt, len(ids))
        output = fields.whole(value_of(request, "output_tokens", where), f"{where}: output_tokens")
        received = value_of(request, "request_received_ms", where)
        turns.add(
            document.line,
            _session(event.get("agent_context"), where),
            _CLOCK.one(received, f"{where}: request_received_ms"),
            prompt,
            output,
            ids=ids,
            ttft_s=_seconds(request, "ttft_ms", where),
            e2e_s=_seconds(request, "total_time_ms", where),
        )
    if size:
        source.notes.append(size.note)
    yield turns.chunk(measured=True)


def _prompt(request: dict[str, Any], where: str, names: Names) -> tuple[int, list[int], int]:
    """(tokens, block ids, tokens a block) of a prompt; no ids and 0 where it has no hashes."""
    if request.get("replay") is None:
        return fields.whole(value_of(request, "input_tokens", where), f"{where}: input_tokens"), [], 0
    at = f"{where}: replay"
    replay = as_object(request["replay"], at)
    tokens = fields.whole(value_of(replay, "trace_block_size", at), f"{at}: trace_block_size", _MAX_BLOCK_TOKENS)
    hashes = as_list(value_of(replay, "input_sequence_hashes", at), f"{at}: input_sequence_hashes")
    ids = [names.number(fields.whole(value, f"{at}: hash {n}", _MAX_HASH)) for n, value in enumerate(hashes)]
    return fields.whole(value_of(replay, "input_length", at), f"{at}: input_length"), ids, max(tokens, 1)


def _session(context: Any, where: str) -> str | None:
    if context is None:
        return None
    found = as_object(context, f"{where}: agent_context")
    session = found.get("session_id", found.get("trajectory_id"))
    if not isinstance(session, str | None):
        raise UserError(f"{where}: session_id must be a text, but got {show(session)}")
    return session


def _seconds(request: dict[str, Any], name: str, where: str) -> float:
    value = request.get(name)
    return NAN if value is None else _CLOCK.one(value, f"{where}: {name}") / _CLOCK.units_per_s
