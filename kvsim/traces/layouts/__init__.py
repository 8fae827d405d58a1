"""Layouts of other tools that traces are written in, found by their files: `layouts/NAME.py` is what `--as NAME` names.

A layout has the name of the format (`kvsim.traces.formats`) that reads it, and is a module with

- a docstring whose first line says who reads it;
- `KIND`: "csv" or "jsonl", as the file's name ends;
- `HOLDS`: which of "blocks", "sessions" and "measured" it has a place for;
- `UNITS_PER_S`: of its clock, 0 for any fraction of a second;
- `lines(trace) -> Iterator[str]`: the file, for a trace that has nothing else and whose arrivals are whole units.

kvsim's own layout, which holds everything, is in `kvsim.traces.write`.
"""

import importlib
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Protocol, cast

from kvsim.errors import unknown
from kvsim.traces.trace import Trace


class Layout(Protocol):
    """The module of a layout."""

    KIND: str
    HOLDS: Set[str]
    UNITS_PER_S: int

    def lines(self, trace: Trace) -> Iterator[str]: ...


def names() -> list[str]:
    """All layouts but kvsim's own."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))


def named(name: str) -> Layout:
    """The layout with this name; a UserError if there is none."""
    if name not in names():
        raise unknown("layout", name, ["kvsim", *names()])
    return cast(Layout, importlib.import_module(f"{__name__}.{name}"))
