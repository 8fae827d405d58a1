"""Traces to files that read back to the same arrays, byte for byte; a file is whole or not there at all."""

import gzip
import json
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice, repeat
from pathlib import Path
from typing import IO

from kvsim.errors import UserError, unknown
from kvsim.traces import layouts
from kvsim.traces.columns import lists, rows
from kvsim.traces.formats.kvsim import BLOCKS, COLUMNS, COUNTS, VERSION
from kvsim.traces.read import derived_notes
from kvsim.traces.trace import Sessions, Trace

SUFFIXES = (".jsonl", ".jsonl.gz", ".csv", ".csv.gz")
LAYOUTS = ("kvsim", *layouts.names())
_LINES = 10_000  # joined before they are written


def write_trace(
    trace: Trace, path: str | Path, layout: str = "kvsim", check: Callable[[Path], None] = lambda file: None
) -> None:
    """Write `trace` as CSV or JSON lines, as the suffix says; the same trace gives the same bytes, gzip included.

    kvsim's own layout loses nothing. Others round arrivals to their clock and leave out what they have no place for:
    `kvsim.traces.convert` refuses that. `check` is called with the file before it is put in place.

    Raises:
        UserError: an unknown suffix or layout, block ids for a CSV, none for "mooncake", a path that cannot be written.
    """
    path = Path(path)
    csv = check_name(path, layout)
    if layout != "kvsim":
        module = layouts.named(layout)
        if "blocks" in getattr(module, "NEEDS", ()) and not trace.blocks:
            raise UserError(f"{path}: the {layout} layout needs block ids, which this trace has not")
        lines = module.lines(trace)
    elif csv and (trace.blocks or trace.sessions or trace.measured):
        raise UserError(f"{path}: a CSV cannot hold block ids, sessions or latencies: write .jsonl or .jsonl.gz")
    else:
        lines = _csv_lines(trace) if csv else _json_lines(trace)
    _write(path, lines, check)


def write_parts(parts: Iterable[Trace], path: str | Path) -> int:
    """Write a trace of arrivals and lengths, given as a run of shorter ones, in kvsim's own layout; its requests."""
    path = Path(path)
    csv = check_name(path, "kvsim")
    requests = 0

    def lines() -> Iterator[str]:
        nonlocal requests
        for number, part in enumerate(parts):
            written = _csv_lines(part) if csv else _json_lines(part)
            yield from written if not number else islice(written, 1, None)  # one header
            requests += len(part)

    _write(path, lines())
    return requests


def _write(path: Path, lines: Iterator[str], check: Callable[[Path], None] = lambda file: None) -> None:
    with replacing(path, check) as file:
        if path.suffix != ".gz":
            file.writelines(_joined(lines))
            return
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6) as packed:
            packed.writelines(_joined(lines))


def check_name(path: Path, layout: str) -> bool:
    """Whether the file is to be a CSV; a UserError if its name does not fit the layout, or there is no such layout."""
    if layout not in LAYOUTS:
        raise unknown("layout", layout, LAYOUTS)
    if not path.name.endswith(SUFFIXES):
        raise UserError(f"{path}: must end in {', '.join(SUFFIXES)}")
    csv = ".csv" in path.suffixes[-2:]
    if layout != "kvsim" and csv != ((module := layouts.named(layout)).KIND == "csv"):
        said = "; a CSV cannot hold block ids" if csv and "blocks" in module.HOLDS else ""
        raise UserError(f"{path}: the {layout} layout is a .{module.KIND} or .{module.KIND}.gz{said}")
    return csv


@contextmanager
def replacing(path: Path, check: Callable[[Path], None] = lambda file: None) -> Iterator[IO[bytes]]:
    """A file to write that takes the place of `path` once all is written, and leaves nothing behind if that fails.

    `check` looks at the whole file before it takes that place, and may raise.

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
            check(part)
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


def _csv_lines(trace: Trace) -> Iterator[str]:
    lines = (f"{arrival!r},{prompt},{output}\n" for arrival, prompt, output in rows(trace))
    return chain([",".join(COLUMNS) + "\n"], lines)


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
    for (arrival, prompt, output), tail in zip(rows(trace), tails, strict=False):
        yield f'{{"{arrival_key}": {arrival!r}, "{prompt_key}": {prompt}, "{output_key}": {output}{keys % tail}}}\n'


def _kind(sessions: Sessions | None) -> str:
    if sessions is None:
        return ""
    return "open" if sessions.gap_s is None else "timed" if sessions.timed else "closed"


def _more_columns(trace: Trace) -> Iterator[tuple[str, Iterable[object]]]:
    """What a row has beside its arrival and lengths: (key, values that print as JSON)."""
    blocks, sessions, measured = trace.blocks, trace.sessions, trace.measured
    if blocks:
        yield BLOCKS, lists(blocks.ids, blocks.start)
        if blocks.counts is not None:
            yield COUNTS, lists(blocks.counts, blocks.start)
    if sessions:
        yield "session", sessions.id.tolist()
        yield "parents", lists(sessions.parents, sessions.start)
        if sessions.gap_s is not None:
            yield "gap_s", sessions.gap_s.tolist()
    if measured:
        for key, values in (("ttft_s", measured.ttft_s), ("e2e_s", measured.e2e_s)):
            yield key, ["null" if value != value else repr(value) for value in values.tolist()]
