"""Azure LLM inference traces of 2023 and 2024, CSV (github.com/Azure/AzurePublicDataset; Splitwise, ISCA 2024).

The stamps have no zone or `+00:00`, and 0 to 7 digits of a second's fraction.
"""

from collections.abc import Iterator

from kvsim.traces import fields
from kvsim.traces.rows import Layout, csv_chunks
from kvsim.traces.source import Head, Source
from kvsim.traces.trace import Chunk

STRICT = False
_LAYOUT = Layout("TIMESTAMP", "ContextTokens", "GeneratedTokens", fields.stamps())


def sniff(head: Head) -> bool:
    return set(head.columns) == set(_LAYOUT.names)  # the multimodal trace of 2025 has one more, which would be lost


def read(source: Source) -> Iterator[Chunk]:
    return csv_chunks(source, _LAYOUT)
