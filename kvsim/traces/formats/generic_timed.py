"""Any CSV or JSON lines file whose columns are named, with stamps of answers: `--map ..,first=COLUMN,done=COLUMN`.

`first` is when a request's first token came, `done` its last, by the clock of the arrivals; either may be left out, or
empty in a row.
"""

from collections.abc import Iterator
from typing import Any

from kvsim.errors import UserError
from kvsim.traces import fields
from kvsim.traces.fields import Clock
from kvsim.traces.rows import named_rows
from kvsim.traces.source import Head, Source, show
from kvsim.traces.trace import Chunk
from kvsim.traces.turns import NAN, Turns

STRICT = False


def sniff(head: Head) -> bool:
    return False  # only its columns' names make a file generic


def read(source: Source) -> Iterator[Chunk]:
    columns = source.columns or {}
    if not {"first", "done"} & set(columns):
        raise UserError(f"{source.path}: the generic_timed format needs --map with first=COLUMN or done=COLUMN")
    clock = fields.time(fields.UNITS_PER_S[source.time_unit])
    turns = Turns(source, clock.units_per_s)
    for line, found, named in named_rows(source, columns):
        arrival = clock.one(found["arrival"], named["arrival"])
        turns.add(
            line,
            None,
            arrival,
            fields.whole(found["input"], named["input"]),
            fields.whole(found["output"], named["output"]),
            ttft_s=_since(found.get("first"), arrival, clock, named.get("first", "")),
            e2e_s=_since(found.get("done"), arrival, clock, named.get("done", "")),
        )
    yield turns.chunk(measured=True)


def _since(value: Any, arrival: int | float, clock: Clock, where: str) -> float:
    """Seconds from arrival to a stamp; NaN where there is none."""
    if value is None or value == "":
        return NAN
    stamp = clock.one(value, where)
    if stamp < arrival:
        raise UserError(f"{where} must not be before the arrival, but got {show(value)}")
    return (stamp - arrival) / clock.units_per_s
