"""Traces to files that read back to the same arrays, byte for byte; a file is whole or not there at all."""

import gzip
import json
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, pairwise, repeat
from pathlib import Path
from typing import IO

from kvsim.errors import UserError, unknown
from kvsim.traces.formats.kvsim import BLOCKS, COLUMNS, COUNTS, VERSION
from kvsim.traces.read import derived_notes
from kvsim.traces.trace import Ints, Sessions, Trace

SUFFIXES = (".jsonl", ".jsonl.gz", ".csv", ".csv.gz")
LAYOUTS = ("kvsim", "mooncake")
_LINES = 10_000  # joined before they are written


def write_trace(trace: Trace, path: str | Path, layout: str = "kvsim") -> None:
    """Write `trace` as CSV or JSON lines, as the suffix says; the same trace gives the same bytes, gzip included.

    Layout "mooncake" (JSON lines only, for other tools) rounds arrivals to milliseconds; "kvsim" loses nothing.

    Raises:
        UserError: an unknown suffix or layout, block ids for a CSV, none for "mooncake", a path that cannot be written.
    """
    path = Path(path)
    if layout not in LAYOUTS:
        raise unknown("layout", layout, LAYOUTS)
    if not path.name.endswith(SUFFIXES):
        raise UserError(f"{path}: must end in {', '.join(SUFFIXES)}")
    if ".csv" in path.suffixes[-2:]:
        if trace.blocks or trace.sessions or trace.measured or layout != "kvsim":
            raise UserError(f"{path}: a CSV cannot hold block ids, sessions or latencies: write .jsonl or .jsonl.gz")
        lines = _csv_lines(trace)
    elif layout == "mooncake":
        if not trace.blocks:
            raise UserError(f"{path}: the mooncake layout needs block ids, which this trace has not")
        lines = _mooncake_lines(trace)
    else:
        lines = _json_lines(trace)
    with replacing(path) as file:
        if path.suffix != ".gz":
            file.writelines(_joined(lines))
            return
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6) as packed:
            packed.writelines(_joined(lines))


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that takes the place of `path` once all is written, and leaves nothing behind if that fails.

    Raises:
        UserError: the folder is missing or not writable, `path` is no plain file, or the disk is full.
    """
    try:
        target = path.resolve()  # through a link, to the file itself
        if target.exists() and not target.is_file():
            raise UserError(f"{path}: is there already and is no plain file")
        part = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}.part")
        try:
            with part.open("xb") as file:
                yield file
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from None


def _joined(lines: Iterator[str]) -> Iterator[bytes]:
    batch: list[str] = []
    for line in lines:
        batch.append(line)
        if len(batch) == _LINES:
            yield "".join(batch).encode()
            batch = []
    yield "".join(batch).encode()


def _rows(trace: Trace) -> Iterator[tuple[float, int, int]]:
    for at in range(0, len(trace), _LINES):
        part = slice(at, at + _LINES)
        columns = (
            trace.arrival_s[part].tolist(),
            trace.prompt_tokens[part].tolist(),
            trace.output_tokens[part].tolist(),
        )
        yield from zip(*columns, strict=True)


def _lists(values: Ints, start: Ints) -> Iterator[list[int]]:
    for first, end in pairwise(start.tolist()):
        yield values[first:end].tolist()


def _csv_lines(trace: Trace) -> Iterator[str]:
    rows = (f"{arrival!r},{prompt},{output}\n" for arrival, prompt, output in _rows(trace))
    return chain([",".join(COLUMNS) + "\n"], rows)


def _json_lines(trace: Trace) -> Iterator[str]:
    blocks, sessions = trace.blocks, trace.sessions
    derived = derived_notes(trace)
    header = {
        "kvsim_trace": VERSION,
        "block_tokens": blocks.tokens if blocks else 0,
        "counted": bool(blocks and blocks.counts is not None),
        "sessions": _kind(sessions),
        "measured": trace.measured is not None,
        "notes": [note for note in trace.notes if note not in derived],
        "dropped": dict(trace.dropped),
    }
    yield json.dumps(header) + "\n"
    columns = list(_more_columns(trace))
    keys = "".join(f', "{key}": %s' for key, _ in columns)
    tails = zip(*(values for _, values in columns), strict=True) if columns else repeat(())
    arrival_key, prompt_key, output_key = COLUMNS
    for (arrival, prompt, output), tail in zip(_rows(trace), tails, strict=False):
        yield f'{{"{arrival_key}": {arrival!r}, "{prompt_key}": {prompt}, "{output_key}": {output}{keys % tail}}}\n'


def _kind(sessions: Sessions | None) -> str:
    if sessions is None:
        return ""
    return "open" if sessions.gap_s is None else "timed" if sessions.timed else "closed"


def _more_columns(trace: Trace) -> Iterator[tuple[str, Iterable[object]]]:
    """What a row has beside its arrival and lengths: (key, values that print as JSON)."""
    blocks, sessions, measured = trace.blocks, trace.sessions, trace.measured
    if blocks:
        yield BLOCKS, _lists(blocks.ids, blocks.start)
        if blocks.counts is not None:
            yield COUNTS, _lists(blocks.counts, blocks.start)
    if sessions:
        yield "session", sessions.id.tolist()
        yield "parents", _lists(sessions.parents, sessions.start)
        if sessions.gap_s is not None:
            yield "gap_s", sessions.gap_s.tolist()
    if measured:
        for key, values in (("ttft_s", measured.ttft_s), ("e2e_s", measured.e2e_s)):
            yield key, ["null" if value != value else repr(value) for value in values.tolist()]


def _mooncake_lines(trace: Trace) -> Iterator[str]:
    blocks = trace.blocks
    assert blocks
    for (arrival, prompt, output), ids in zip(_rows(trace), _lists(blocks.ids, blocks.start), strict=True):
        row = {"timestamp": round(arrival * 1000), "input_length": prompt, "output_length": output, "hash_ids": ids}
        yield json.dumps(row) + "\n"
