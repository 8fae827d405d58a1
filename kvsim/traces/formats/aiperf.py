"""aiperf's profile_export.jsonl, a request on each line: arrivals, lengths and measured latencies.

Warm-up, cancelled and failed requests are dropped and counted. Turns of a conversation are linked by their index.
"""

from collections.abc import Iterator
from typing import Any

from kvsim.errors import UserError
from kvsim.traces import fields
from kvsim.traces.documents import as_object, documents, value_of
from kvsim.traces.source import Head, Source, show
from kvsim.traces.trace import Chunk
from kvsim.traces.turns import NAN, Turns

STRICT = False
_CLOCK = fields.time(fields.UNITS_PER_S["ns"])
_UNITS_PER_S = {"ms": 1e3, "us": 1e6, "ns": 1e9, "s": 1.0, "sec": 1.0}


def sniff(head: Head) -> bool:
    return {"metadata", "metrics"} <= set(head.keys)


def read(source: Source) -> Iterator[Chunk]:
    turns = Turns(source, _CLOCK.units_per_s)
    for document in documents(source):
        row, where = as_object(document.value, document.where), document.where
        metadata = as_object(value_of(row, "metadata", where), f"{where}: metadata")
        metrics = as_object(value_of(row, "metrics", where), f"{where}: metrics")
        if why := _left_out(row, metadata):
            source.dropped[why] += 1
            continue
        start = value_of(metadata, "request_start_ns", f"{where}: metadata")
        session = metadata.get("conversation_id") if metadata.get("turn_index") is not None else None
        if not isinstance(session, str | None):
            raise UserError(f"{where}: conversation_id must be a text, but got {show(session)}")
        prompt, output = (
            fields.whole(_metric(metrics, name, where)[0], f"{where}: {name}")
            for name in ("input_sequence_length", "output_sequence_length")
        )
        turns.add(
            document.line,
            session,
            _CLOCK.one(start, f"{where}: request_start_ns"),
            prompt,
            output,
            ttft_s=_seconds(metrics, "time_to_first_token", where),
            e2e_s=_seconds(metrics, "request_latency", where),
        )
    yield turns.chunk(measured=True)


def _left_out(row: dict[str, Any], metadata: dict[str, Any]) -> str | None:
    if row.get("error"):
        return "failed requests"
    if metadata.get("was_cancelled"):
        return "cancelled requests"
    return None if metadata.get("benchmark_phase", "profiling") == "profiling" else "requests of the warm-up"


def _metric(metrics: dict[str, Any], name: str, where: str) -> tuple[Any, Any]:
    """(value, unit)."""
    metric = as_object(value_of(metrics, name, f"{where}: metrics"), f"{where}: {name}")
    return value_of(metric, "value", f"{where}: {name}"), metric.get("unit")


def _seconds(metrics: dict[str, Any], name: str, where: str) -> float:
    if name not in metrics:
        return NAN
    value, unit = _metric(metrics, name, where)
    if unit not in _UNITS_PER_S:
        raise UserError(f"{where}: {name}: unit must be one of {', '.join(_UNITS_PER_S)}, but got {show(unit)}")
    return fields.seconds(value, f"{where}: {name}") / _UNITS_PER_S[unit]
