"""Sums over the running sequences, one column a decode step: what future steps will read, hold and move.

A sequence adds its rows when it starts to decode and takes the rest back when it is preempted; a span of columns is
then priced at once, whatever the number of sequences.
"""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
_COLUMNS = 4096


class Ledger:
    """Integer rows over decode steps, addressed by the absolute number of the step."""

    def __init__(self, rows: int) -> None:
        self._data: Ints = np.zeros((rows, _COLUMNS), np.int64)
        self._first = 0  # the step of column 0
        self._end = 0  # beyond the last step added to

    def add(self, rows: Ints, step: int) -> None:
        """Add `rows` [rows, n] to the n steps from `step` on. Steps before the last one added to may be forgotten."""
        start, count = step - self._first, rows.shape[1]
        if start + count > self._data.shape[1]:
            self._make_room(start, count)
            start = 0
        self._data[:, start : start + count] += rows
        self._end = max(self._end, step + count)

    def subtract(self, rows: Ints, step: int) -> None:
        """Take `rows` [rows, n] back from the n steps from `step` on."""
        start = step - self._first
        self._data[:, start : start + rows.shape[1]] -= rows

    def span(self, step: int, count: int) -> Ints:
        """A view [rows, count] of the steps from `step` on; columns never added to are 0."""
        start = step - self._first
        if start + count > self._data.shape[1]:
            self._make_room(start, count)
            start = 0
        return self._data[:, start : start + count]

    def at(self, step: int) -> list[int]:
        """All rows of one step."""
        start = step - self._first
        if start >= self._data.shape[1]:
            self._make_room(start, 1)
            start = 0
        column: list[int] = self._data[:, start].tolist()
        return column

    def _make_room(self, start: int, count: int) -> None:
        """Move column `start` to the front, with room twice over for `count` columns and for all that were added to."""
        needed, width = max(count, self._end - self._first - start), _COLUMNS
        while width < 2 * needed:
            width *= 2
        old = self._data[:, start : self._end - self._first] if start < self._end - self._first else self._data[:, :0]
        self._data = np.zeros((len(self._data), width), np.int64)
        self._data[:, : old.shape[1]] = old
        self._first += start
