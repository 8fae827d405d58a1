"""Azure LLM inference traces of 2023, 2024 and 2025 (multimodal), CSV (github.com/Azure/AzurePublicDataset).

The stamps have no zone or `+00:00`, and 0 to 7 digits of a second's fraction. The trace of 2025 has a column NumImages:
its images are part of ContextTokens.
"""

from collections.abc import Iterator

from kvsim.traces import fields
from kvsim.traces.rows import Layout, csv_chunks
from kvsim.traces.source import Head, Source
from kvsim.traces.trace import Chunk

STRICT = False
_IMAGES = "NumImages"
_LAYOUT = Layout("TIMESTAMP", "ContextTokens", "GeneratedTokens", fields.stamps())


def sniff(head: Head) -> bool:
    return set(head.columns) - {_IMAGES} == set(_LAYOUT.names)


def read(source: Source) -> Iterator[Chunk]:
    if _IMAGES in source.head.columns:
        source.notes.append(f"{_IMAGES}: an image's tokens are taken as part of {_LAYOUT.prompt}; encoding it is free")
    return csv_chunks(source, _LAYOUT)
