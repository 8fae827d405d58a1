"""Where a sweep keeps its finished points: one SQLite file that one process at a time writes.

A point is a transaction, on disk before the next is begun, so that kill -9 loses at most the points that were running.
SQLite does the rest: what was cut short is rolled back when the file is next opened, and its exclusive lock, which the
kernel drops with the process, keeps a second sweep out. With that lock held, write-ahead logging needs no shared memory
and one fsync a point.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kvsim.errors import UserError
from kvsim.study.point import Outcome

FILE = "points.sqlite"
RESULTS = ("results.csv", "results.parquet", "results.json")
_OWN = (FILE, f"{FILE}-wal", f"{FILE}-shm", f"{FILE}-journal", *RESULTS)
_TABLES = """
CREATE TABLE study (digest TEXT NOT NULL, points INTEGER NOT NULL);
CREATE TABLE points (number INTEGER PRIMARY KEY, status TEXT NOT NULL, text TEXT NOT NULL);
"""


class Store:
    """The finished points of one study, by number."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def add(self, outcome: Outcome) -> None:
        """Keep an outcome, instead of an earlier one of the same point; it is on disk when this returns."""
        with self._database as database:
            database.execute("REPLACE INTO points VALUES (?, ?, ?)", (outcome.number, outcome.status, outcome.text))

    def outcomes(self) -> list[Outcome]:
        """All that are kept, by number."""
        rows = self._database.execute("SELECT number, status, text FROM points ORDER BY number")
        return [Outcome(*row) for row in rows]


@contextmanager
def opened(folder: Path, digest: str, points: int, resume: bool) -> Iterator[Store]:
    """The store in `folder`, which is made if need be; nobody else has it meanwhile.

    Args:
        digest: of the study; a store that belongs to another one is refused. points: how many it has.
        resume: go on with a store that holds points already; without it such a store is refused.

    Raises:
        UserError: the store is refused or in use, is none, or cannot be written.
    """
    path = folder / FILE
    _claim(folder)
    try:
        database = sqlite3.connect(path, timeout=0)
        try:
            database.execute("PRAGMA locking_mode = EXCLUSIVE")
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            _match(database, folder, digest, points, resume)
            for part in folder.glob(".results.*.part"):  # of a sweep that was killed while it wrote them
                part.unlink()
            yield Store(database)
        finally:
            database.close()
    except sqlite3.OperationalError as error:
        reason = "another sweep is using it" if "locked" in str(error) else str(error)
        raise UserError(f"{path}: {reason}") from None
    except sqlite3.DatabaseError:
        raise UserError(f"{path}: is no store of a sweep; name a new folder") from None
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror or error}") from None


def _claim(folder: Path) -> None:
    """Make the folder, or see that it is empty or a sweep's."""
    try:
        if not folder.parent.is_dir():
            raise UserError(f"{folder}: cannot be written: {folder.parent} is no folder")
        folder.mkdir(exist_ok=True)
        strangers = {entry.name for entry in folder.iterdir()} - set(_OWN)
        if strangers and not (folder / FILE).exists():
            shown = ", ".join(sorted(strangers)[:3])
            raise UserError(f"{folder}: is not empty and no sweep (has {shown}); name a new folder")
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror or error}") from None


def _match(database: sqlite3.Connection, folder: Path, digest: str, points: int, resume: bool) -> None:
    """See that the database is this study's, or make it so if it is new."""
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        with database:
            database.execute("BEGIN EXCLUSIVE")
            for statement in filter(None, map(str.strip, _TABLES.split(";"))):
                database.execute(statement)
            database.execute("INSERT INTO study VALUES (?, ?)", (digest, points))
        return
    if tables != {"study", "points"}:
        raise sqlite3.DatabaseError
    with database:
        database.execute("BEGIN EXCLUSIVE")  # takes the lock now, before hours are spent
        found = database.execute("SELECT digest FROM study").fetchone()
        (kept,) = database.execute("SELECT count(*) FROM points").fetchone()
    if found != (digest,):
        raise UserError(
            f"{folder}: holds {kept:,} points of another study (or its trace, hardware or model file, or kvsim, has "
            "changed since); name another folder with --out"
        )
    if kept and not resume:
        raise UserError(
            f"{folder}: holds {kept:,} of this study's {points:,} points already; add --resume to go on, or name "
            "another folder with --out"
        )
