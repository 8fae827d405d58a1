"""APEX+ traces, JSON lines or CSV with nanoseconds since the start (github.com/microsoft/apex_plus)."""

from collections.abc import Iterator

from kvsim.traces import fields
from kvsim.traces.rows import Layout, csv_chunks, json_chunks
from kvsim.traces.source import Head, Source
from kvsim.traces.trace import Chunk

STRICT = False
_LAYOUT = Layout("StartTimeOffset", "ContextTokens", "GeneratedTokens", fields.time(fields.UNITS_PER_S["ns"]))


def sniff(head: Head) -> bool:
    return set(_LAYOUT.names) <= {*head.columns, *head.keys}


def read(source: Source) -> Iterator[Chunk]:
    return json_chunks(source, _LAYOUT) if source.head.keys else csv_chunks(source, _LAYOUT)
