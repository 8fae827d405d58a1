"""Traces that are whole JSON documents, or have one on each line: parsed one by one."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import orjson

from kvsim.errors import UserError
from kvsim.traces.packs import Pack, holds_documents
from kvsim.traces.parquet import Table, is_table
from kvsim.traces.source import Head, Source, show, show_names


@dataclass(frozen=True)
class Document:
    """A parsed JSON document; `where` begins errors about it, `line` is its line in a file, or its number in a pack."""

    where: str
    line: int
    value: Any


class Documents(Source):
    """Documents of a file, folder or archive, with what readers leave in a `Source`; it has no lines."""

    def _open(self) -> None:
        self._pack = Pack(self.path)
        self._all = self._parsed()
        first = next(self._all)
        self._all = chain([first], self._all)
        self.head = Head(keys=_keys(first.value))

    def __exit__(self, *_: object) -> None:
        pass  # the pack closes what it opens

    def at(self, line: int) -> str:
        """`file: entry n`, the start of an error about an entry of an array."""
        return f"{self.path}: entry {line}"

    def blocks(self) -> Iterator[tuple[int, str]]:
        """None: a CSV is no document.

        Raises:
            UserError: always.
        """
        raise UserError(f"{self.path}: is JSON over several lines or files; expected a CSV, or one JSON object a line")

    def lines(self) -> Iterator[str]:
        """As `blocks`."""
        self.blocks()
        raise AssertionError

    def documents(self) -> Iterator[Document]:
        """All documents. To be called once."""
        yield from self._all
        if self._pack.others:
            self.notes.append(f"files in it that are not read, because they are no .json: {self._pack.others:,}")

    def _parsed(self) -> Iterator[Document]:
        for number, (name, data) in enumerate(self._pack.contents(), 1):
            try:
                yield Document(name, number, orjson.loads(data))
            except orjson.JSONDecodeError as error:
                raise _invalid(error, f"{name}:{error.lineno}") from None


def opened(
    path: Path, columns: Mapping[str, str] | None = None, time_unit: str = "s", lengths_only: bool = False
) -> Source:
    """The trace at `path`: rows, or documents if it is a folder, an archive or JSON over several lines."""
    kind = Documents if holds_documents(path) else Table if is_table(path) else Source
    return kind(path, columns, time_unit, lengths_only)


def documents(source: Source) -> Iterator[Document]:
    """A source's documents, or the entries of those that are arrays; what is on each line or row, if it has rows."""
    if isinstance(source, Documents):
        for document in source.documents():
            if isinstance(document.value, list):
                where = f"{document.where}: entry"
                yield from (Document(f"{where} {at}", at, value) for at, value in enumerate(document.value, 1))
            else:
                yield document
        return
    if isinstance(source, Table):
        yield from (Document(source.at(at), at, row) for rows in source.row_lists() for at, row in rows)
        return
    for first, text in source.blocks():
        for line, row in enumerate(text.split("\n"), first):
            if row and not row.isspace():
                try:
                    yield Document(source.at(line), line, orjson.loads(row))
                except orjson.JSONDecodeError as error:
                    raise _invalid(error, source.at(line)) from None


def as_object(value: Any, where: str) -> dict[str, Any]:
    """`value` if it is a JSON object, else a UserError at `where`."""
    if not isinstance(value, dict):
        raise UserError(f"{where}: must be one JSON object, but is {show(value)}")
    return value


def as_list(value: Any, where: str) -> list[Any]:
    """`value` if it is a JSON list, else a UserError at `where`."""
    if not isinstance(value, list):
        raise UserError(f"{where} must be a list, but got {show(value)}")
    return value


def value_of(entry: dict[str, Any], name: str, where: str) -> Any:
    """What an object has under `name`; a UserError at `where` if it has nothing."""
    if name not in entry:
        raise UserError(f"{where}: has no {name!r}; there are: {show_names(entry) or 'no keys'}")
    return entry[name]


def _keys(value: Any) -> tuple[str, ...]:
    """The keys of an object, or of the first of a list."""
    first = value[0] if isinstance(value, list) and value else value
    return tuple(first) if isinstance(first, dict) else ()


def _invalid(error: orjson.JSONDecodeError, where: str) -> UserError:
    return UserError(f"{where}: invalid JSON: {error.msg} at column {error.colno}")
