"""Text and JSON values to integers and times: a strict parser of one value, and fast ones of whole columns.

A fast parser takes only what the strict one reads to the same figures, and raises ValueError for the rest: the caller
then goes value by value, which either reads it (blanks around a number) or says what is wrong.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kvsim.errors import UserError
from kvsim.traces.source import show
from kvsim.traces.trace import MAX_TOKENS, Floats, Ints

UNITS_PER_S = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_MAX_INT = 2**63 - 1
_MAX_S = 2**53
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,9})?", re.ASCII)
_NUMBER_LETTERS = frozenset("0123456789.eE+-")
_STAMP = re.compile(r"(?:19|20|21)\d\d-[01]\d-[0-3]\d[ T][0-2]\d:[0-5]\d:[0-5]\d(?:\.\d{1,9})?(Z|\+00:00)?", re.ASCII)


@dataclass(frozen=True)
class Clock:
    """How a source writes arrivals: `one` value, or a column of `texts` (CSV) or `numbers` (JSON)."""

    units_per_s: int
    one: Callable[[Any, str], int | float]
    texts: Callable[[Sequence[str]], Floats | Ints]
    numbers: Callable[[Sequence[Any]], Floats | Ints]


def whole(value: object, where: str, most: int = MAX_TOKENS) -> int:
    """A count: digits in CSV, an integer in JSON, from 0 to `most`; anything else is a UserError at `where`."""
    number = value
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d{1,30}", value.strip(), re.ASCII):
        number = int(value.strip())  # int() itself strips less than str.strip()
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= most:
        raise UserError(f"{where} must be a whole number from 0 to {most}, but got {show(value)}")
    return number


def seconds(value: object, where: str) -> float:
    """A duration in JSON: a number from 0 on; anything else is a UserError at `where`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MAX_S:
        raise UserError(f"{where} must be a finite number of seconds, at least 0, but got {show(value)}")
    return float(value)


def time(units_per_s: int) -> Clock:
    """Numbers of 1/`units_per_s` s."""

    def one(value: object, where: str) -> int | float:
        number = value
        if isinstance(value, str) and len(value) < 400 and _NUMBER.fullmatch(value.strip()):
            text = value.strip()
            number = int(text) if text.isdigit() else float(text)
        most = min(_MAX_S * units_per_s, _MAX_INT)
        if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number <= most:
            raise UserError(f"{where} must be a finite number, at least 0, but got {show(value)}")
        return number

    def texts(values: Sequence[str]) -> Floats | Ints:
        joined = "".join(values)
        if joined.isascii() and joined.isdigit():
            return _checked(np.array(list(map(int, values)), np.int64), units_per_s)
        if not _NUMBER_LETTERS.issuperset(joined):
            raise ValueError
        return _checked(np.array(list(map(float, values)), np.float64), units_per_s)

    def numbers(values: Sequence[Any]) -> Floats | Ints:
        kinds = set(map(type, values))
        if not kinds <= {int, float}:
            raise ValueError
        return _checked(np.array(values, np.int64 if kinds == {int} else np.float64), units_per_s)

    return Clock(units_per_s, one, texts, numbers)


def _checked(values: Any, units_per_s: int) -> Floats | Ints:
    if not (np.all(values >= 0) and np.all(values <= min(_MAX_S * units_per_s, _MAX_INT))):
        raise ValueError
    checked: Floats | Ints = values
    return checked


def stamps() -> Clock:
    """UTC dates such as 2023-11-16 18:17:03.9799600 or 2024-05-10T00:00:00+00:00, in nanoseconds since 1970."""

    def one(value: object, where: str) -> int:
        text = value.strip() if isinstance(value, str) else ""
        try:
            return int(texts([text])[0])
        except ValueError:
            raise UserError(
                f"{where} must be a UTC date such as 2024-05-10 00:00:00.009930+00:00, but got {show(value)}"
            ) from None

    def texts(values: Sequence[str]) -> Ints:
        zoned = False
        for value in values:
            match = _STAMP.fullmatch(value)
            if not match:
                raise ValueError
            zoned = zoned or match[1] is not None
        if zoned:
            values = [value.removesuffix("Z").removesuffix("+00:00") for value in values]
        return np.array(values, "datetime64[ns]").astype(np.int64)

    return Clock(UNITS_PER_S["ns"], one, texts, texts)


def no_clock() -> Clock:
    """Every arrival is 0, whatever the column holds: for a file of lengths."""

    def zeros(values: Sequence[Any]) -> Ints:
        return np.zeros(len(values), np.int64)

    return Clock(1, lambda value, where: 0, zeros, zeros)


def whole_texts(values: Sequence[str]) -> Ints:
    """A column of token counts of a CSV."""
    joined = "".join(values)
    if not (joined.isascii() and joined.isdigit()):
        raise ValueError
    return _bounded(list(map(int, values)), MAX_TOKENS)


def whole_numbers(values: Sequence[Any], most: int = MAX_TOKENS) -> Ints:
    """A column of token counts, or of block ids, of JSON lines."""
    if not set(map(type, values)) <= {int}:
        raise ValueError
    return _bounded(values, most)


def _bounded(values: Sequence[int], most: int) -> Ints:
    array = np.array(values, np.int64)
    if array.size and not (array.min() >= 0 and array.max() <= most):
        raise ValueError
    return array
