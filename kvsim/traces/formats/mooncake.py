"""Mooncake traces, JSON lines with milliseconds and block hashes (github.com/kvcache-ai/Mooncake, FAST 2025).

The block size is not in the file (it is 512 in Mooncake's own): it is found from lengths and numbers of ids.
"""

from collections.abc import Iterator

from kvsim.traces import fields
from kvsim.traces.blocksize import BlockSize
from kvsim.traces.rows import Layout, json_chunks
from kvsim.traces.source import Head, Source
from kvsim.traces.trace import Chunk

STRICT = False
_LAYOUT = Layout("timestamp", "input_length", "output_length", fields.time(fields.UNITS_PER_S["ms"]), "hash_ids")
_OTHERS = {"chat_id", "session_id", "delay", "delay_ms", "block_size"}  # Bailian; sessions; kvcache-simulator


def sniff(head: Head) -> bool:
    keys = set(head.keys)
    return {"hash_ids", "input_length", "timestamp"} <= keys and not keys & _OTHERS


def read(source: Source) -> Iterator[Chunk]:
    size = BlockSize(source)
    for chunk in json_chunks(source, _LAYOUT):
        assert chunk.block_count is not None  # the layout asks for ids
        size.check(chunk.line, chunk.prompt_tokens, chunk.block_count)
        source.notes = [size.note]
        yield chunk
