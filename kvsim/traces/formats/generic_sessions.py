"""Any CSV or JSON lines file whose columns are named, one of them the session: `--map arrival=..,session=COLUMN,..`.

A session's rows follow each other in order of arrival. `gap=COLUMN` is the wait from the end of the row before, in the
unit of the arrivals; without it gaps are unknown. Rows with an empty session stand alone.
"""

from collections.abc import Iterator
from typing import Any

from kvsim.errors import UserError
from kvsim.traces import fields
from kvsim.traces.rows import named_rows
from kvsim.traces.source import Head, Source, show
from kvsim.traces.trace import Chunk
from kvsim.traces.turns import NAN, Turns

STRICT = False


def sniff(head: Head) -> bool:
    return False  # only its columns' names make a file generic


def read(source: Source) -> Iterator[Chunk]:
    columns = source.columns or {}
    if "session" not in columns:
        raise UserError(f"{source.path}: the generic_sessions format needs --map with session=COLUMN")
    clock = fields.time(fields.UNITS_PER_S[source.time_unit])
    turns = Turns(source, clock.units_per_s)
    for line, found, named in named_rows(source, columns):
        wait = clock.one(found["gap"], named["gap"]) / clock.units_per_s if found.get("gap") not in (None, "") else NAN
        turns.add(
            line,
            _session(found["session"], named["session"]),
            clock.one(found["arrival"], named["arrival"]),
            fields.whole(found["input"], named["input"]),
            fields.whole(found["output"], named["output"]),
            gap_s=wait,
        )
    yield turns.chunk()


def _session(value: Any, where: str) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise UserError(f"{where} must be a text or a whole number, but got {show(value)}")
    return str(value).strip() or None
