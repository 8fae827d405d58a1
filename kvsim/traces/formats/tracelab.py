"""TraceLab's coding agents (github.com/uw-syfi/TraceLab): rounds as JSON lines with events, and its simulator's CSV.

A round is sent with the last user message or tool result before its first output, and ends with its last output, as
TraceLab's own analysis has it. The CSV gives the wait after each round instead, and one arrival a session; its
input_len is what a round appends, so that the prompt is prefix_len + input_len tokens.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from kvsim.errors import UserError
from kvsim.traces import fields
from kvsim.traces.documents import as_list, as_object, documents, value_of
from kvsim.traces.growth import BLOCK_TOKENS, Growth
from kvsim.traces.rows import csv_rows
from kvsim.traces.sessions import Call, SessionChunks
from kvsim.traces.source import Head, Source, show
from kvsim.traces.trace import Chunk

STRICT = False
_CSV = ("round_idx", "prefix_len", "input_len", "output_len", "tool_wait_after_ms")
_SESSION = ("session_id", "id")
_INPUTS, _OUTPUTS = ("user_message", "tool_result"), ("reasoning", "text", "tool_call")
_MS, _NS = fields.time(fields.UNITS_PER_S["ms"]), fields.stamps()


@dataclass(frozen=True)
class _Round:
    """A row. `arrival` and `end` count the source's units; None where it does not say them."""

    index: int
    line: int
    prompt: int
    output: int
    cached: int
    arrival: int | float | None
    end: int | float | None = None
    wait_s: float = 0.0  # after it, of the CSV


def sniff(head: Head) -> bool:
    return set(_CSV) <= set(head.columns) or {"input_tokens_total", "timing_events"} <= set(head.keys)


def read(source: Source) -> Iterator[Chunk]:
    is_csv = "timing_events" not in source.head.keys
    source.block_tokens, source.timed = BLOCK_TOKENS, not is_csv
    sessions: dict[str, list[_Round]] = {}
    for name, row in _csv_rounds(source) if is_csv else _json_rounds(source):
        sessions.setdefault(name, []).append(row)
    growth, unstamped, notes = Growth(), 0, list(source.notes)
    chunks = SessionChunks(source, _MS.units_per_s if is_csv else _NS.units_per_s, measured=not is_csv)
    for rounds in sessions.values():
        rounds.sort(key=lambda row: row.index)
        unstamped += 0 if is_csv else sum(row.arrival is None for row in rounds)
        calls = list(_csv_calls(rounds) if is_csv else _json_calls(source, rounds))
        yield chunks.chunk(growth.ids(calls, [row.cached for row in rounds]))
        source.notes = [*notes, *growth.notes()]
        if unstamped:
            source.notes.append(f"{unstamped:,} rounds have no event before their output: sent at once")


def _csv_rounds(source: Source) -> Iterator[tuple[str, _Round]]:
    session = next((name for name in _SESSION if name in source.head.columns), _SESSION[0])
    stamped = "arrival_time" in source.head.columns
    for line, row in csv_rows(source, (session, *_CSV, *(("arrival_time",) if stamped else ()))):
        at = source.at(line)
        index, prefix, new, output = (fields.whole(row[name], f"{at}: {name}") for name in _CSV[:4])
        arrival = _MS.one(row["arrival_time"], f"{at}: arrival_time") if stamped else 0
        wait_s = _MS.one(row["tool_wait_after_ms"], f"{at}: tool_wait_after_ms") / _MS.units_per_s
        yield row[session], _Round(index, line, prefix + new, output, prefix, arrival, None, wait_s)


def _csv_calls(rounds: list[_Round]) -> Iterator[Call]:
    arrival = min(row.arrival or 0 for row in rounds)
    for at, row in enumerate(rounds):
        parents = (at - 1,) if at else ()
        yield Call(row.line, arrival, row.prompt, row.output, parents, rounds[at - 1].wait_s if at else 0.0)


def _json_rounds(source: Source) -> Iterator[tuple[str, _Round]]:
    for document in documents(source):
        at = document.where
        row = as_object(document.value, at)
        session = value_of(row, "session_id", at)
        if not isinstance(session, str):
            raise UserError(f"{at}: session_id must be a text, but got {show(session)}")
        index, prompt, output = (
            fields.whole(value_of(row, name, at), f"{at}: {name}")
            for name in ("round_index", "input_tokens_total", "output_tokens")
        )
        cached = fields.whole(row.get("prefix_tokens") or 0, f"{at}: prefix_tokens")
        arrival, end = _times(as_list(value_of(row, "timing_events", at), f"{at}: timing_events"), at)
        yield session, _Round(index, document.line, prompt, output, cached, arrival, end)


def _times(events: Iterable[Any], where: str) -> tuple[int | None, int | None]:
    """(sent, ended), in nanoseconds; None where no event tells it."""
    inputs: list[int] = []
    outputs: list[int] = []
    for number, value in enumerate(events):
        at = f"{where}: timing_events[{number}]"
        event = as_object(value, at)
        kind = event.get("event_type")
        if kind in _INPUTS or kind in _OUTPUTS:
            stamp = int(_NS.one(event.get("timestamp"), f"{at}: timestamp"))
            (inputs if kind in _INPUTS else outputs).append(stamp)
    first = min(outputs, default=None)
    before = [stamp for stamp in inputs if first is None or stamp <= first]
    return max(before, default=None), max(outputs, default=None)


def _json_calls(source: Source, rounds: list[_Round]) -> Iterator[Call]:
    """A session's rounds; one without stamps is sent when the one before it ended."""
    if rounds[0].arrival is None:
        raise UserError(
            f"{source.at(rounds[0].line)}: its session's first round must have a user_message with its time"
        )
    sent = ended = int(rounds[0].arrival)
    for at, row in enumerate(rounds):
        arrival = ended if row.arrival is None else int(row.arrival)
        gap_s = max(0, arrival - ended) / _NS.units_per_s
        sent = max(sent, arrival)
        ended = max(sent, int(row.end)) if row.end is not None else sent
        e2e_s = (ended - sent) / _NS.units_per_s if ended > sent else float("nan")
        yield Call(row.line, sent, row.prompt, row.output, (at - 1,) if at else (), gap_s, e2e_s=e2e_s)
