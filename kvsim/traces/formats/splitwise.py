"""splitwise-sim's traces, CSV with seconds (github.com/Mutinifni/splitwise-sim; Splitwise, ISCA 2024)."""

from collections.abc import Iterator

from kvsim.traces import fields
from kvsim.traces.rows import Layout, csv_chunks
from kvsim.traces.source import Head, Source
from kvsim.traces.trace import Chunk

STRICT = False
_LAYOUT = Layout("arrival_timestamp", "prompt_size", "token_size", fields.time(1))


def sniff(head: Head) -> bool:
    return set(_LAYOUT.names) <= set(head.columns)


def read(source: Source) -> Iterator[Chunk]:
    return csv_chunks(source, _LAYOUT)
