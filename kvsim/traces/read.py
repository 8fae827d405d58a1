"""`read_trace`: a trace file of any known format to columns."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from kvsim.errors import UserError, unknown
from kvsim.traces import clipped, clock, fields, formats
from kvsim.traces.blocksize import MAX_BLOCK_TOKENS
from kvsim.traces.context import check_context, within
from kvsim.traces.documents import opened
from kvsim.traces.source import Source
from kvsim.traces.trace import Chunk, Trace, gather

DITHERS = ("uniform",)
_NO_LINES = np.empty(0, np.int64)  # nobody asks for a row's line once it is read
_COLUMN_KEYS = ("arrival", "input", "output")
_SESSION_KEYS = ("session", "gap")  # may be named as well
_TIMED_KEYS = ("first", "done")  # these too, but not beside a session


def read_trace(
    path: str | Path,
    *,
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
    time_unit: str | None = None,
    limit: int | None = None,
    dither: str | None = None,
    seed: int = 0,
    lengths_only: bool = False,
    tokenizer: str | None = None,
    block_tokens: int | None = None,
    max_context: int | None = None,
) -> Trace:
    """The requests in a trace file: CSV, JSON lines, JSON or parquet, plain or packed by gzip, xz or zst.

    Args:
        format: a name from `formats.names()`; by default the file's first line decides.
        columns: "arrival", "input", "output", and perhaps "session" and "gap", or "first" and "done" (stamps of the
            first and the last token) -> the file's name for it: the generic formats.
        time_unit: s (default), ms, us or ns: the generic format's clock.
        limit: read this many requests, and no further.
        dither: "uniform" spreads the arrivals of each clock tick over it, drawn with `seed`.
        lengths_only: the arrivals are not used, so that a file without them will do (Vidur's): they are 0 then.
        tokenizer: of formats with text: see `traces.tokenizer`.
        block_tokens: tokens of a block of ids, for a file that does not say it and fits several sizes.
        max_context: leave out, of the requests read, those with more tokens of prompt and output.

    Raises:
        UserError: the file cannot be read, is of no known format, or has a bad row: which, and what would be right.
    """
    path = Path(path)
    _check_options(path, format, columns, time_unit, limit, dither, seed)
    check_context(max_context)
    if block_tokens is not None and not 1 <= block_tokens <= MAX_BLOCK_TOKENS:
        raise UserError(f"block tokens must be from 1 to {MAX_BLOCK_TOKENS}, but got {block_tokens}")
    with opened(path, columns, time_unit or "s", lengths_only) as source:
        name = format or _generic(columns) or formats.detect(source)
        reader = formats.named(name)
        if tokenizer is not None and not getattr(reader, "TEXT", False):
            raise UserError(f"{path}: the {name} format has token counts; a tokenizer is for those with text")
        source.tokenizer, source.named_block_tokens = tokenizer, block_tokens
        chunks = reader.read(source)
        chunks = _refuse(source, chunks) if reader.STRICT else _drop(source, chunks)
        parts = [replace(chunk, line=_NO_LINES) for chunk in _first(chunks, limit)]
        if source.dropped and not any(map(len, parts)):
            raise UserError(f"{path}: has no requests: all {source.dropped.total()} rows have zero tokens")
        if block_tokens not in (None, source.block_tokens):
            has = f"blocks of {source.block_tokens} tokens" if source.block_tokens else "no block ids"
            raise UserError(f"{path}: block tokens: got {block_tokens}, but as {name} it has {has}")
        trace = gather(str(path), parts, block_tokens=source.block_tokens, timed=source.timed, notes=source.notes)
        trace = replace(trace, name=_stem(path), dropped={why: rows for why, rows in source.dropped.items() if rows})
    if limit is not None:
        trace = trace.head(limit)
    if max_context is not None:
        trace = within(trace, max_context)
    if dither:
        trace = clock.spread(trace, seed)
    return replace(trace, notes=(*trace.notes, *derived_notes(trace)))


def derived_notes(trace: Trace) -> list[str]:
    """The notes that follow from the other columns of a trace, and so are not written to a file."""
    notes = [f"rows dropped: {rows:,} ({why})" for why, rows in trace.dropped.items()]
    notes += clipped.notes(trace)
    coarse = clock.note(trace)
    return [*notes, coarse] if coarse else notes


def parse_columns(text: str) -> dict[str, str]:
    """`arrival=COLUMN,input=COLUMN,output=COLUMN[,session=COLUMN[,gap=COLUMN]][,first=COLUMN,done=COLUMN]`, of `--map`.

    Raises:
        UserError: a part that is no KEY=COLUMN, an unknown key, one given twice, or one that is missing.
    """
    columns: dict[str, str] = {}
    for part in text.split(","):
        key, equals, column = (side.strip() for side in part.partition("="))
        if not equals or not column:
            raise UserError(f"--map: {part!r} must be KEY=COLUMN, as in arrival=time,input=prompt,output=reply")
        if key in columns:
            raise UserError(f"--map: {key} is given twice")
        columns[key] = column
    _check_columns(columns, "--map")
    return columns


def _check_columns(columns: Mapping[str, str], where: str) -> None:
    for key in columns:
        if key not in (*_COLUMN_KEYS, *_SESSION_KEYS, *_TIMED_KEYS):
            raise unknown("key", key, (*_COLUMN_KEYS, *_SESSION_KEYS, *_TIMED_KEYS), where)
    for key in _COLUMN_KEYS:
        if key not in columns:
            raise UserError(f"{where}: {key} is missing; name all of {', '.join(_COLUMN_KEYS)}")
    if "session" in columns and set(_TIMED_KEYS) & set(columns):
        raise UserError(f"{where}: session and first or done cannot be named together yet: leave one out")
    if "gap" in columns and "session" not in columns:
        raise UserError(f"{where}: session is missing; a gap is the wait after the row before of the same session")


def _generic(columns: Mapping[str, str] | None) -> str | None:
    """The format of a file whose columns are named."""
    if not columns:
        return None
    if set(_TIMED_KEYS) & set(columns):
        return "generic_timed"
    return "generic_sessions" if "session" in columns else "generic"


def _check_options(
    path: Path,
    format: str | None,
    columns: Mapping[str, str] | None,
    time_unit: str | None,
    limit: int | None,
    dither: str | None,
    seed: int,
) -> None:
    if columns is not None:
        _check_columns(columns, f"{path}: map")
    if format not in (None, _generic(columns) or "generic") and (columns or time_unit):
        raise UserError(f"{path}: the {format} format knows its columns and clock; map and time unit are for generic")
    if time_unit and not columns:
        raise UserError(f"{path}: a time unit needs --map: the other formats know their clock")
    if time_unit and time_unit not in fields.UNITS_PER_S:
        raise UserError(f"{path}: time unit must be one of {', '.join(fields.UNITS_PER_S)}, but got {time_unit!r}")
    check_limit(limit)
    check_seed(seed)
    if dither is not None and dither not in DITHERS:
        raise unknown("dither", dither, DITHERS)


def check_limit(limit: int | None) -> None:
    """A UserError unless `limit` takes at least one request."""
    if limit is not None and limit < 1:
        raise UserError(f"limit must be at least 1, but got {limit}")


def check_seed(seed: int) -> None:
    """A UserError unless numpy takes `seed`."""
    if not 0 <= seed < 2**63:
        raise UserError(f"seed must be from 0 to 2**63 - 1, but got {seed}")


def _refuse(source: Source, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    """The chunks; a row with zero tokens, or that arrives before the row above it, is an error."""
    last = -np.inf
    for chunk in chunks:
        if not len(chunk):
            continue
        before = np.concatenate([[last], chunk.arrival[:-1]])
        faults = {
            "its prompt must have at least 1 token": chunk.prompt_tokens < 1,
            "its output must have at least 1 token": chunk.output_tokens < 1,
            "arrives before the row above it; sort the file by arrival": chunk.arrival < before,
        }
        for problem, bad in faults.items():
            if bad.any():
                raise UserError(f"{source.at(int(chunk.line[np.argmax(bad)]))}: {problem}")
        last = chunk.arrival[-1]
        yield chunk


def _drop(source: Source, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    """The chunks without their zero-token rows, which `source.dropped` counts."""
    for chunk in chunks:
        no_prompt, no_output = chunk.prompt_tokens < 1, chunk.output_tokens < 1
        bad = no_prompt | no_output
        if bad.any():
            source.dropped["0 prompt and 0 output tokens"] += int(np.count_nonzero(no_prompt & no_output))
            source.dropped["0 prompt tokens"] += int(np.count_nonzero(no_prompt & ~no_output))
            source.dropped["0 output tokens"] += int(np.count_nonzero(no_output & ~no_prompt))
            chunk = chunk.keep(~bad)
        yield chunk


def _first(chunks: Iterator[Chunk], limit: int | None) -> Iterator[Chunk]:
    """The first `limit` rows, reading no further; of a chunk with sessions all."""
    left = limit
    for chunk in chunks:
        if left is not None and len(chunk) >= left:
            yield chunk.keep(np.arange(len(chunk)) < left) if chunk.session is None else chunk
            return
        if left is not None:
            left -= len(chunk)
        yield chunk


def _stem(path: Path) -> str:
    name = path.name
    for suffix in (".gz", ".xz", ".zst", ".jsonl", ".csv", ".parquet"):
        name = name.removesuffix(suffix)
    return name or path.name
