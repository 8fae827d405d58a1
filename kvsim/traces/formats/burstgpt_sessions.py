"""BurstGPT 3, CSV with a clock of 1 s, session ids and how long answers took (github.com/HPMLL/BurstGPT).

A turn's gap is its stamp less the end of the turn before it. Rows without a session are requests of their own.
"""

from collections.abc import Iterator

from kvsim.traces import fields
from kvsim.traces.rows import csv_rows
from kvsim.traces.source import Head, Source
from kvsim.traces.trace import Chunk
from kvsim.traces.turns import NAN, Turns

STRICT = False
_COLUMNS = ("Timestamp", "Session ID", "Elapsed time", "Request tokens", "Response tokens")
_CLOCK = fields.time(1)


def sniff(head: Head) -> bool:
    return {*_COLUMNS, "Log Type"} <= set(head.columns)


def read(source: Source) -> Iterator[Chunk]:
    turns = Turns(source)
    for line, row in csv_rows(source, _COLUMNS):
        where = source.at(line)
        prompt, output = (fields.whole(row[name], f"{where}: {name}") for name in _COLUMNS[3:])
        arrival = _CLOCK.one(row["Timestamp"], f"{where}: Timestamp")
        took = row["Elapsed time"].strip()
        e2e_s = float(_CLOCK.one(took, f"{where}: Elapsed time")) if took else NAN
        turns.add(line, row["Session ID"].strip() or None, arrival, prompt, output, e2e_s=e2e_s)
    yield turns.chunk(measured=True)
