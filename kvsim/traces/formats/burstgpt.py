"""BurstGPT 1 and 2, CSV with a clock of 1 s (github.com/HPMLL/BurstGPT, arXiv:2401.17644).

Failed requests have no output tokens (`0,0` or `n,0`) and are dropped and counted.
"""

from collections.abc import Iterator

from kvsim.traces import fields
from kvsim.traces.rows import Layout, csv_chunks
from kvsim.traces.source import Head, Source
from kvsim.traces.trace import Chunk

STRICT = False
_LAYOUT = Layout("Timestamp", "Request tokens", "Response tokens", fields.time(1))


def sniff(head: Head) -> bool:
    return {*_LAYOUT.names, "Log Type"} <= set(head.columns) and "Session ID" not in head.columns


def read(source: Source) -> Iterator[Chunk]:
    return csv_chunks(source, _LAYOUT)
