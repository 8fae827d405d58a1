"""Vidur traces, CSV with seconds (github.com/microsoft/vidur, MLSys 2024).

Vidur's length tables lack the column of arrivals: they serve generators (`lengths_from`) only.
"""

from collections.abc import Iterator

from kvsim.errors import UserError
from kvsim.traces import fields
from kvsim.traces.rows import Layout, csv_chunks
from kvsim.traces.source import Head, Source
from kvsim.traces.trace import Chunk

STRICT = False
_LAYOUT = Layout("arrived_at", "num_prefill_tokens", "num_decode_tokens", fields.time(1))


def sniff(head: Head) -> bool:
    return {"num_prefill_tokens", "num_decode_tokens"} <= set(head.columns) and "session_id" not in head.columns


def read(source: Source) -> Iterator[Chunk]:
    if _LAYOUT.prompt not in source.head.columns or _LAYOUT.arrival in source.head.columns:
        return csv_chunks(source, _LAYOUT)
    if source.lengths_only:
        return csv_chunks(source, Layout(_LAYOUT.prompt, _LAYOUT.prompt, _LAYOUT.output, fields.no_clock()))
    raise UserError(
        f"{source.path}: has lengths but no column {_LAYOUT.arrival!r}, so nobody knows when its requests arrive; "
        "write a workload YAML with `generate: {arrivals: ..., lengths_from: FILE}`"
    )
