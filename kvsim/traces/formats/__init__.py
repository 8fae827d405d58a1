"""Trace formats, found by their files: `formats/NAME.py` is what `--format NAME` names.

A format is a module with

- a docstring whose first line says what it reads;
- `STRICT`: True if zero-token rows and rows out of order are errors (files made for kvsim), False if sources are known
  to have them, so that such rows are dropped or sorted, counted and noted;
- `TEXT`: True if it counts tokens of text with `source.tokenizer`; may be left out;
- `sniff(head) -> bool`: whether a file with this first line is of this format. Exactly one format may say so;
- `read(source) -> Iterator[Chunk]`: the rows, in the order of the file. It may add to `source.notes`, and sets
  `source.block_tokens` before it yields chunks that have block ids. Rows with zero tokens are yielded like others.

`kvsim.traces.rows` has what most formats need; tests/traces/test_formats.py runs every format through one list of
checks.
"""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, cast

from kvsim.errors import UserError, unknown
from kvsim.traces.source import Head, Source, show_names
from kvsim.traces.trace import Chunk


class Format(Protocol):
    """The module of a format."""

    STRICT: bool

    def sniff(self, head: Head) -> bool: ...

    def read(self, source: Source) -> Iterator[Chunk]: ...


def names() -> list[str]:
    """All formats."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))


def named(name: str) -> Format:
    """The format with this name; a UserError if there is none."""
    if name not in names():
        raise unknown("trace format", name, names())
    return cast(Format, importlib.import_module(f"{__name__}.{name}"))


def detect(source: Source) -> str:
    """The name of the one format that the file's first line fits; a UserError if there is none."""
    fits = [name for name in names() if named(name).sniff(source.head)]
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise UserError(f"{source.path}: may be {' or '.join(fits)}: choose with --format")
    what = "keys" if source.head.keys else "columns"
    found = show_names(source.head.keys or source.head.columns)
    raise UserError(
        f"{source.path}: no trace format has the {what} {found!r}; `kvsim trace stats --help` lists formats, "
        "or name its columns: --map arrival=COLUMN,input=COLUMN,output=COLUMN"
    )
