"""BLIS TraceV2's CSV with microseconds: clients, sessions, prefix groups, and measured chunk times (inference-sim).

The first `prefix_length` tokens of a prompt are those of its `prefix_group`; ids of blocks of 16 tokens are made from
that. A turn's gap is its think time where the trace has one, else what its stamp leaves. Failed rows are counted.
"""

from collections.abc import Iterator

from kvsim.errors import UserError
from kvsim.traces import fields
from kvsim.traces.blocksize import Names
from kvsim.traces.rows import csv_rows
from kvsim.traces.source import Head, Source
from kvsim.traces.trace import Chunk
from kvsim.traces.turns import NAN, Turns

STRICT = False
BLOCK_TOKENS = 16
_COLUMNS = (
    "request_id", "session_id", "prefix_group", "prefix_length", "input_tokens", "output_tokens", "arrival_time_us",
    "first_chunk_time_us", "last_chunk_time_us", "status",
)  # fmt: skip
_CLOCK = fields.time(fields.UNITS_PER_S["us"])
_FINE = ("", "ok", "success", "completed")


def sniff(head: Head) -> bool:
    return set(_COLUMNS) <= set(head.columns)


def read(source: Source) -> Iterator[Chunk]:
    turns, names = Turns(source, _CLOCK.units_per_s), Names()
    source.block_tokens = BLOCK_TOKENS
    thinks = "think_time_us" in source.head.columns
    for line, row in csv_rows(source, (*_COLUMNS, *(("think_time_us",) if thinks else ()))):
        where = source.at(line)
        if row["status"].strip().lower() not in _FINE:
            source.dropped["failed requests"] += 1
            continue
        prompt, output = (fields.whole(row[name], f"{where}: {name}") for name in ("input_tokens", "output_tokens"))
        arrival = _CLOCK.one(row["arrival_time_us"], f"{where}: arrival_time_us")
        think = row["think_time_us"].strip() if thinks else ""
        turns.add(
            line,
            row["session_id"].strip() or None,
            arrival,
            prompt,
            output,
            ids=_ids(row, prompt, where, names),
            gap_s=_CLOCK.one(think, f"{where}: think_time_us") / _CLOCK.units_per_s if think else NAN,
            ttft_s=_since(row, "first_chunk_time_us", arrival, where),
            e2e_s=_since(row, "last_chunk_time_us", arrival, where),
        )
    source.notes.append(f"block ids made from prefix groups, in blocks of {BLOCK_TOKENS} tokens, rounded down")
    yield turns.chunk(measured=True)


def _ids(row: dict[str, str], prompt: int, where: str, names: Names) -> list[int]:
    group, shared = row["prefix_group"].strip(), 0
    if group:
        shared = fields.whole(row["prefix_length"], f"{where}: prefix_length")
        if shared > prompt:
            raise UserError(f"{where}: prefix_length {shared} must be at most input_tokens {prompt}, which hold it")
    own = (f"{group}/" if at < shared // BLOCK_TOKENS else f"{where} " for at in range(prompt // BLOCK_TOKENS))
    return [names.number(f"{prefix}{at}") for at, prefix in enumerate(own)]


def _since(row: dict[str, str], name: str, arrival: int | float, where: str) -> float:
    """Seconds from arrival to a stamp; NaN where it is 0 or missing."""
    text = row[name].strip()
    stamp = _CLOCK.one(text, f"{where}: {name}") if text else 0
    return (stamp - arrival) / _CLOCK.units_per_s if stamp > arrival else NAN
