"""Mooncake traces, JSON lines with milliseconds and block hashes (github.com/kvcache-ai/Mooncake, FAST 2025).

The block size is not in the file (it is 512 in Mooncake's own): it is the first of a list at which every row has
ceil(tokens / size) ids, or every row floor(tokens / size). A wrong size would go unseen and spoil every hit ratio.
"""

from collections.abc import Iterator

import numpy as np

from kvsim.errors import UserError
from kvsim.traces import fields
from kvsim.traces.rows import Layout, json_chunks
from kvsim.traces.source import Head, Source
from kvsim.traces.trace import Chunk, Ints

STRICT = False
_LAYOUT = Layout("timestamp", "input_length", "output_length", fields.time(fields.UNITS_PER_S["ms"]), "hash_ids")
_SIZES = (512, 16, 32, 64, 128, 256, 1024)
_ROUNDINGS = ("up", "down")


def sniff(head: Head) -> bool:
    return {"hash_ids", "input_length"} <= set(head.keys) and "chat_id" not in head.keys  # Bailian's clock is seconds


def read(source: Source) -> Iterator[Chunk]:
    if {"session_id", "delay"} & set(source.head.keys):
        raise UserError(f"{source.path}: has sessions (`session_id`, `delay`), which are not read yet")
    fits = [(size, rounding) for size in _SIZES for rounding in _ROUNDINGS]
    for chunk in json_chunks(source, _LAYOUT):
        fits = _still_fitting(source, chunk, fits)
        source.block_tokens = fits[0][0]
        source.notes = _notes(fits)
        yield chunk


def _notes(fits: list[tuple[int, str]]) -> list[str]:
    size, rounding = fits[0]
    others = sorted({other for other, _ in fits} - {size})
    note = f"block size {size} tokens: every row has its prompt / {size} ids, rounded {rounding}"
    return [note + (f"; so few rows would fit {', '.join(map(str, others))} as well" if others else "")]


def _still_fitting(source: Source, chunk: Chunk, fits: list[tuple[int, str]]) -> list[tuple[int, str]]:
    counts = chunk.block_count
    assert counts is not None  # the layout asks for ids
    left = [fit for fit in fits if bool(np.all(_expected(chunk.prompt_tokens, fit) == counts))]
    if left:
        return left
    wrong = _expected(chunk.prompt_tokens, fits[0]) != counts
    row = int(np.argmax(wrong))
    tokens, size = int(chunk.prompt_tokens[row]), fits[0][0]
    raise UserError(
        f"{source.at(int(chunk.line[row]))}: input_length {tokens} with {int(counts[row])} hash_ids: expected "
        f"{-(-tokens // size)} (blocks of {size} tokens), and no other block size of {min(_SIZES)} to {max(_SIZES)} "
        "fits all rows"
    )


def _expected(tokens: Ints, fit: tuple[int, str]) -> Ints:
    size, rounding = fit
    return (tokens + (size - 1 if rounding == "up" else 0)) // size
