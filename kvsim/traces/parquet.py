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

        self._faults = (pyarrow.ArrowException, OSError, ValueError, KeyError)  # the last: two columns of one name
        try:
            self._raw = self.path.open("rb")
            try:
                self._table = parquet.ParquetFile(self._raw, page_checksum_verification=True)
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

    def row_lists(self) -> Iterator[list[tuple[int, dict[str, Any]]]]:
        """Lists of (number from 1, values by column)."""
        for number, columns in self.batches(self.head.columns):
            rows = zip(*columns.values(), strict=True)
            yield [(at, dict(zip(columns, row, strict=True))) for at, row in enumerate(rows, number)]

    def batches(self, names: Iterable[str]) -> Iterator[tuple[int, dict[str, list[Any]]]]:
        """(number of the first row, from 1; values of each column) of some columns; dates are texts."""
        number = 1
        wanted = list(dict.fromkeys(names))
        try:
            for batch in self._table.iter_batches(_ROWS, columns=wanted):
                yield number, {name: _values(batch.column(name)) for name in wanted}
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


def _values(column: Any) -> list[Any]:
    import pyarrow

    if pyarrow.types.is_timestamp(column.type):
        column = column.cast(pyarrow.timestamp(column.type.unit)).cast(pyarrow.string())
    values: list[Any] = column.to_pylist()
    return values


def as_text(value: Any) -> str:
    """A value as a CSV would have it."""
    if value is None:
        return ""
    return value if isinstance(value, str) else repr(value)
