"""Mooncake's rows with sessions (aiperf, genai-perf, Dynamo), JSON lines: a later turn has a delay, and no stamp.

A turn is sent `delay` ms after the one before it ended. Its prompt is taken as a whole, as its hash ids have it.
"""

from collections.abc import Iterator
from typing import Any

from kvsim.errors import UserError
from kvsim.traces import fields
from kvsim.traces.blocksize import BlockSize
from kvsim.traces.documents import as_object, documents, value_of
from kvsim.traces.rows import whole_list
from kvsim.traces.source import Head, Source, show
from kvsim.traces.trace import Chunk
from kvsim.traces.turns import Turns

STRICT = False
_CLOCK = fields.time(fields.UNITS_PER_S["ms"])
_STAMPS, _DELAYS = ("timestamp", "created_time"), ("delay", "delay_ms")
_PROMPTS, _OUTPUTS = ("input_length", "input_tokens"), ("output_length", "output_tokens")


def sniff(head: Head) -> bool:
    keys = set(head.keys)
    if not keys & {*_STAMPS, *_DELAYS}:
        return False
    links = {"session_id", *_DELAYS} & keys or ("created_time" in keys and {"input_tokens"} & keys)
    return bool(links and keys & set(_PROMPTS) and keys & set(_OUTPUTS) and not keys & {"chat_id", "block_size"})


def read(source: Source) -> Iterator[Chunk]:
    turns, size = Turns(source, _CLOCK.units_per_s), BlockSize(source)
    last: dict[Any, int | float] = {}  # session -> arrival of its last turn, as far as it is known
    hashed: bool | None = None
    for document in documents(source):
        row, where = as_object(document.value, document.where), document.where
        prompt, output = (
            fields.whole(_one_of(row, names, where), f"{where}: {names[0]}") for names in (_PROMPTS, _OUTPUTS)
        )
        session = row.get("session_id")
        if not isinstance(session, str | int | None):
            raise UserError(f"{where}: session_id must be a text or number, but got {show(session)}")
        ids = None if row.get("hash_ids") is None else whole_list(row, "hash_ids", where)
        if hashed is None:
            hashed = ids is not None
        if (ids is not None) != hashed:
            raise UserError(f"{where}: either all rows of a trace have hash_ids, or none has")
        if ids is not None:
            size.check_row(document.line, prompt, len(ids))
        gap_s, arrival = _sent(row, where, session in last and session is not None)
        if arrival is None:
            arrival, source.timed = last[session] + gap_s * _CLOCK.units_per_s, False
        if session is not None:
            last[session] = arrival
        turns.add(document.line, session, arrival, prompt, output, ids=ids or (), gap_s=gap_s)
    if hashed:
        source.notes.append(size.note)
    if last:
        source.notes.append("prompts of later turns are taken as whole: each row's length counts what was said before")
    yield turns.chunk()


def _one_of(row: dict[str, Any], names: tuple[str, ...], where: str) -> Any:
    found = [name for name in names if name in row]
    return row[found[0]] if found else value_of(row, names[0], where)


def _sent(row: dict[str, Any], where: str, later: bool) -> tuple[float, int | float | None]:
    """(gap in s, NaN if untold; stamp in ms, None if untold) of a turn; `later`: its session has one before it."""
    delay = next((row[name] for name in _DELAYS if row.get(name) is not None), None)
    stamp = next((row[name] for name in _STAMPS if row.get(name) is not None), None)
    gap_s = float("nan") if delay is None else _CLOCK.one(delay, f"{where}: delay") / _CLOCK.units_per_s
    if stamp is not None:
        return gap_s, _CLOCK.one(stamp, f"{where}: timestamp")
    if not later:
        raise UserError(f"{where}: has no timestamp; only later turns of a session may have a delay instead")
    if delay is None:
        raise UserError(f"{where}: has neither timestamp nor delay")
    return gap_s, None
