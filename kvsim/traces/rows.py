"""Rows of CSV and JSON lines to chunks of columns: a fast way for sound rows, a strict one that finds the fault."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from operator import itemgetter
from typing import Any

import numpy as np

from kvsim.errors import UserError, unknown
from kvsim.traces import fields
from kvsim.traces.documents import Documents, value_of
from kvsim.traces.fields import Clock
from kvsim.traces.parquet import Table, as_text
from kvsim.traces.source import Source, parse_json, show, show_names
from kvsim.traces.trace import Chunk, Floats, Ints

_CSV_ROWS = 50_000
_JSON_CHARACTERS = 4_000_000  # of one chunk: rows may carry thousands of ids each
_MAX_ID = 2**63 - 1
_SLOW = (ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError)
Row = tuple[int, dict[str, Any]]


@dataclass(frozen=True)
class Layout:
    """What a source calls its columns (or keys), and its clock. `blocks` names a key with a list of block ids."""

    arrival: str
    prompt: str
    output: str
    clock: Clock
    blocks: str | None = None

    @property
    def names(self) -> tuple[str, str, str]:
        return self.arrival, self.prompt, self.output


def csv_chunks(source: Source, layout: Layout) -> Iterator[Chunk]:
    """The rows of a CSV with a header. A row has as many columns as the header; blank lines are skipped.

    Raises:
        UserError: a column that is not there, a row too short or too long, a figure that is none.
    """
    if isinstance(source, Table):
        _check_names(list(source.head.columns), layout.names, str(source.path))
        yield from (_table_chunk(source, first, columns, layout) for first, columns in source.batches(layout.names))
        return
    reader = csv.reader(source.lines(), strict=True)
    above = source.first_line - 1
    header = _header(source, reader, above)
    _check_names(header, layout.names, source.at(above + reader.line_num))
    pick = itemgetter(*(header.index(name) for name in layout.names))
    first = above + reader.line_num + 1
    for rows in _batches(source, reader, above, _CSV_ROWS):
        chunk = _fast_csv(rows, first, len(header), pick, layout)
        yield _strict(source, _numbered(source, rows, first, header), layout) if chunk is None else chunk
        first = above + reader.line_num + 1


def csv_rows(source: Source, names: Iterable[str]) -> Iterator[Row]:
    """(line, cells by column) of a CSV with a header that has these columns, and perhaps others.

    Raises:
        UserError: as for `csv_chunks`, figures aside.
    """
    if isinstance(source, Table):
        _check_names(list(source.head.columns), names, str(source.path))
        for number, row in chain.from_iterable(source.row_lists()):
            yield number, {name: as_text(value) for name, value in row.items()}
        return
    reader = csv.reader(source.lines(), strict=True)
    above = source.first_line - 1
    header = _header(source, reader, above)
    _check_names(header, names, source.at(above + reader.line_num))
    first = above + reader.line_num + 1
    for rows in _batches(source, reader, above, _CSV_ROWS):
        yield from _numbered(source, rows, first, header)
        first = above + reader.line_num + 1


def named_rows(source: Source, columns: Mapping[str, str]) -> Iterator[tuple[int, dict[str, Any], dict[str, str]]]:
    """(line, values, what to call each in a message), by the keys of `columns`, of a CSV or of JSON lines.

    Raises:
        UserError: a line is no object, or lacks a column.
    """
    rows = chain.from_iterable(json_rows(source)) if source.head.keys else csv_rows(source, columns.values())
    for line, row in rows:
        where = source.at(line)
        if not isinstance(row, dict):
            raise UserError(f"{where}: must be one JSON object, but is {show(row)}")
        found = {key: value_of(row, name, where) for key, name in columns.items()}
        yield line, found, {key: f"{where}: {name}" for key, name in columns.items()}


def _check_names(header: list[str], names: Iterable[str], where: str) -> None:
    for name in names:
        if header.count(name) != 1:
            if name in header:
                raise UserError(f"{where}: column {name!r} is there {header.count(name)} times")
            raise unknown("column", name, header[:50], where)


def _header(source: Source, reader: Any, above: int) -> list[str]:
    for rows in _batches(source, reader, above, 1):
        header = [column.strip() for column in rows[0]]
        if any(header):
            return header
    raise UserError(f"{source.path}: has no header line")


def _batches(source: Source, reader: Any, above: int, count: int) -> Iterator[list[list[str]]]:
    try:
        while rows := list(islice(reader, count)):
            yield rows
    except csv.Error as error:
        raise UserError(f"{source.at(above + reader.line_num)}: invalid CSV: {error}") from None


def _fast_csv(rows: list[list[str]], first: int, width: int, pick: Any, layout: Layout) -> Chunk | None:
    if set(map(len, rows)) != {width}:
        return None
    arrival, prompt, output = zip(*map(pick, rows), strict=True)
    try:
        clock = layout.clock
        columns = clock.texts(arrival), fields.whole_texts(prompt), fields.whole_texts(output)
    except _SLOW:
        return None
    return Chunk(np.arange(first, first + len(rows)), *columns, clock.units_per_s)


def _numbered(source: Source, rows: list[list[str]], first: int, header: list[str]) -> Iterator[Row]:
    line = first
    for row in rows:
        if row:
            if len(row) != len(header):
                expected = f"{len(header)}: {show_names(header)}"
                raise UserError(f"{source.at(line)}: has {len(row)} columns, expected {expected}")
            yield line, dict(zip(header, row, strict=True))
        line += 1 + sum(cell.count("\n") for cell in row)


def _table_chunk(source: Source, first: int, columns: dict[str, list[Any]], layout: Layout) -> Chunk:
    arrival, prompt, output = (columns[name] for name in layout.names)
    line = np.arange(first, first + len(arrival))
    try:
        clock = layout.clock
        found = clock.numbers(arrival), fields.whole_numbers(prompt), fields.whole_numbers(output)
    except _SLOW:
        cells = zip(line.tolist(), arrival, prompt, output, strict=True)
        return _strict(source, ((at, dict(zip(layout.names, row, strict=True))) for at, *row in cells), layout)
    return Chunk(line, *found, clock.units_per_s)


def json_chunks(source: Source, layout: Layout) -> Iterator[Chunk]:
    """The rows of a JSON lines file. Keys that are not in `layout` are ignored.

    Raises:
        UserError: a line that is no JSON object, a key that is missing, a figure that is none.
    """
    for rows in json_rows(source):
        yield json_chunk(source, rows, layout)


def json_rows(source: Source) -> Iterator[list[Row]]:
    """Lists of (line, object), some megabytes of text each."""
    if isinstance(source, Table):
        yield from source.row_lists()
        return
    if isinstance(source, Documents):
        for document in source.documents():
            yield list(enumerate(document.value if isinstance(document.value, list) else [document.value], 1))
        return
    batch: list[Row] = []
    size = 0
    decode = json.JSONDecoder().decode
    for first, text in source.blocks():
        for line, row in enumerate(text.split("\n"), first):
            if row and not row.isspace():
                try:
                    batch.append((line, decode(row)))
                except (ValueError, RecursionError):
                    batch.append((line, parse_json(row, source.at(line))))
        size += len(text)
        if size > _JSON_CHARACTERS:
            yield batch
            batch, size = [], 0
    yield batch


def json_chunk(source: Source, rows: list[Row], layout: Layout) -> Chunk:
    """One chunk from rows that are already parsed."""
    chunk = _fast_json(rows, layout)
    return _strict(source, rows, layout) if chunk is None else chunk


def _fast_json(rows: list[Row], layout: Layout) -> Chunk | None:
    try:
        arrival, prompt, output = ([row[name] for _, row in rows] for name in layout.names)
        columns = layout.clock.numbers(arrival), fields.whole_numbers(prompt), fields.whole_numbers(output)
        line = _ints(line for line, _ in rows)
        if not layout.blocks:
            return Chunk(line, *columns, layout.clock.units_per_s)
        ids = [row[layout.blocks] for _, row in rows]
        if set(map(type, ids)) != {list}:
            return None
        flat = fields.whole_numbers(list(chain.from_iterable(ids)), _MAX_ID)
    except _SLOW:
        return None
    return Chunk(line, *columns, layout.clock.units_per_s, flat, _ints(map(len, ids)))


def _strict(source: Source, rows: Iterable[Row], layout: Layout) -> Chunk:
    line: list[int] = []
    arrival: list[int | float] = []
    prompt: list[int] = []
    output: list[int] = []
    ids: list[list[int]] = []
    for number, row in rows:
        where = source.at(number)
        if not isinstance(row, dict):
            raise UserError(f"{where}: must be one JSON object, but is {show(row)}")
        line.append(number)
        arrival.append(layout.clock.one(value_of(row, layout.arrival, where), f"{where}: {layout.arrival}"))
        prompt.append(fields.whole(value_of(row, layout.prompt, where), f"{where}: {layout.prompt}"))
        output.append(fields.whole(value_of(row, layout.output, where), f"{where}: {layout.output}"))
        if layout.blocks:
            ids.append(whole_list(row, layout.blocks, where))
    exact = all(isinstance(value, int) for value in arrival)
    times: Floats | Ints = np.array(arrival, np.int64) if exact else np.array(arrival, np.float64)
    blocks = (_ints(chain.from_iterable(ids)), _ints(map(len, ids))) if layout.blocks else (None, None)
    return Chunk(_ints(line), times, _ints(prompt), _ints(output), layout.clock.units_per_s, *blocks)


def whole_list(row: dict[str, Any], name: str, where: str, most: int = _MAX_ID) -> list[int]:
    """What a row has under `name`: whole numbers up to `most`; anything else is a UserError at `where`."""
    values = value_of(row, name, where)
    if not isinstance(values, list):
        raise UserError(f"{where}: {name} must be a list of whole numbers, but got {show(values)}")
    return [fields.whole(value, f"{where}: {name}[{at}]", most) for at, value in enumerate(values)]


def _ints(values: Iterable[int]) -> Ints:
    return np.array(list(values), np.int64)
