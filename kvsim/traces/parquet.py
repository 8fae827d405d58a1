"""Traces in parquet files: rows by row group, as CSV or JSON lines would give them."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from kvsim.errors import UserError
from kvsim.traces import containers
from kvsim.traces.source import Head, Source

_ROWS = 50_000


class Table(Source):
    """An open parquet file. It has no lines; errors name the row."""

    def _open(self) -> None:
        import pyarrow
        from pyarrow import parquet

        self._faults = (pyarrow.ArrowException, OSError, ValueError)
        try:
            self._raw = self.path.open("rb")
            try:
                self._table = parquet.ParquetFile(self._raw)
            except BaseException:
                self._raw.close()
                raise
        except self._faults as error:
            raise self._damaged(error) from None
        names = tuple(self._table.schema_arrow.names)
        self.head = Head(columns=names, keys=names)

    def at(self, line: int) -> str:
        """`file: row n`, the start of an error."""
        return f"{self.path}: row {line}"

    def blocks(self) -> Iterator[tuple[int, str]]:
        """None.

        Raises:
            UserError: always.
        """
        raise UserError(f"{self.path}: is a parquet file; this format has lines of text")

    def lines(self) -> Iterator[str]:
        """As `blocks`."""
        self.blocks()
        raise AssertionError

    def row_lists(self, names: Iterable[str] | None = None) -> Iterator[list[tuple[int, dict[str, Any]]]]:
        """Lists of (number from 1, values by column) of some columns or all; dates are texts."""
        number = 1
        wanted = None if names is None else list(dict.fromkeys(names))
        try:
            for batch in self._table.iter_batches(_ROWS, columns=wanted):
                yield [(at, row) for at, row in enumerate(_values(batch), number)]
                number += batch.num_rows
        except self._faults as error:
            raise self._damaged(error) from None

    def _damaged(self, error: BaseException) -> UserError:
        what = next(iter(str(error).splitlines()), "") or type(error).__name__
        return UserError(f"{self.path}: the parquet file is damaged, or of a kind that is not read: {what[:120]}")


def is_table(path: Path) -> bool:
    """Whether a file is parquet, by its first bytes."""
    try:
        return containers.kind(path) == "parquet"
    except (OSError, ValueError):
        return False  # reading it as rows says what is wrong


def _values(batch: Any) -> list[dict[str, Any]]:
    import pyarrow

    for at, column in enumerate(batch.schema):
        if pyarrow.types.is_timestamp(column.type):
            texts = batch.column(at).cast(pyarrow.timestamp(column.type.unit)).cast(pyarrow.string())
            batch = batch.set_column(at, column.name, texts)
    rows: list[dict[str, Any]] = batch.to_pylist()
    return rows


def as_text(value: Any) -> str:
    """A value as a CSV would have it."""
    if value is None:
        return ""
    return value if isinstance(value, str) else repr(value)
