"""A trace file as text: opened, unpacked, decoded and cut into blocks of whole lines, whatever is in it."""

import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from types import TracebackType
from typing import Any

from kvsim.errors import UserError
from kvsim.traces import containers
from kvsim.traces.containers import KINDS

MAX_LINE_BYTES = 8_000_000
_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class Head:
    """A file's first line that is not blank: the columns of a CSV header, or the keys of a JSON object, else empty."""

    columns: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()


class Source:
    """An open trace file. Readers take its lines and leave in it what they found out.

    Every fault of the file (missing, a directory, damaged data, not UTF-8, a line above MAX_LINE_BYTES) is a UserError.
    """

    def __init__(
        self, path: Path, columns: Mapping[str, str] | None = None, time_unit: str = "s", lengths_only: bool = False
    ) -> None:
        self.path = path
        self.columns = columns  # of the generic format: "arrival", "input", "output" -> the file's name for it
        self.time_unit = time_unit  # of the generic format
        self.lengths_only = lengths_only  # nobody will look at the arrivals
        self.notes: list[str] = []
        self.dropped: Counter[str] = Counter()
        self.block_tokens = 0
        self.named_block_tokens: int | None = None  # what the user says that it is, where a reader has to find it
        self.rows = 0  # yielded so far, where a reader counts them
        self.timed = True  # False: later turns of sessions have no stamps
        self.tokenizer: str | None = None  # of formats with text: what counts its tokens
        self._open()

    def _open(self) -> None:
        try:
            self._packed = containers.kind(self.path)
            self._raw = containers.unpacked(self.path)
        except (OSError, ValueError) as error:
            what = getattr(error, "strerror", None) or error
            raise UserError(f"{self.path}: {what}; expected a trace file: CSV or JSON lines, {KINDS}") from None
        self._blocks = self._read_blocks()
        try:
            self.head, self.first_line = self._peek()
        except BaseException:
            self._raw.close()
            raise

    def __enter__(self) -> "Source":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._raw.close()

    def at(self, line: int) -> str:
        """`file:line`, the start of an error."""
        return f"{self.path}:{line}"

    def blocks(self) -> Iterator[tuple[int, str]]:
        """Runs of whole lines of about a megabyte, each with the number of its first line. To be called once."""
        return self._blocks

    def lines(self) -> Iterator[str]:
        """The lines from `first_line` on, with their ends. To be called once, instead of `blocks`."""
        return chain.from_iterable(io.StringIO(text) for _, text in self._blocks)

    def _read_blocks(self) -> Iterator[tuple[int, str]]:
        number, rest = 1, b""
        while block := self._read(number):
            block = rest + block
            cut = block.rfind(b"\n") + 1
            rest = block[cut:]
            if len(rest) > MAX_LINE_BYTES:
                line = number + block.count(b"\n")
                raise UserError(f"{self.at(line)}: is longer than {MAX_LINE_BYTES} bytes; a row of a trace is one line")
            if cut:
                yield number, self._decoded(block[:cut], number)
                number += block.count(b"\n")
        if rest:
            yield number, self._decoded(rest, number)

    def _read(self, line: int) -> bytes:
        try:
            return self._raw.read(_READ_BYTES)
        except containers.FAULTS as error:
            what = getattr(error, "strerror", None)  # a fault of the disk
            if not what:
                what = f"{self._packed} data is damaged or cut off near line {line}: {error}"
            raise UserError(f"{self.path}: {what}") from None

    def _decoded(self, data: bytes, number: int) -> str:
        if number == 1:
            data = data.removeprefix(b"\xef\xbb\xbf")
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            line = number + data.count(b"\n", 0, error.start)
            raise UserError(
                f"{self.at(line)}: byte 0x{data[error.start]:02x} is not UTF-8 text; a trace is CSV or JSON lines, "
                f"{KINDS}"
            ) from None

    def _peek(self) -> tuple[Head, int]:
        for number, text in self._blocks:
            for offset, line in enumerate(io.StringIO(text)):
                if not line.isspace():
                    self._blocks = chain([(number, text)], self._blocks)
                    return self._head(line.strip(), number + offset), number
        raise UserError(f"{self.path}: is empty; a trace has a row for each request")

    def _head(self, line: str, number: int) -> Head:
        if line.startswith("["):
            raise UserError(f"{self.at(number)}: is a JSON array; expected one JSON object a line, or a CSV")
        if not line.startswith("{"):
            return Head(columns=tuple(column.strip().strip('"') for column in line.split(",")))
        row = parse_json(line, self.at(number))
        return Head(keys=tuple(row))


def parse_json(line: str, where: str) -> dict[str, Any]:
    """The JSON object on a line; anything else is a UserError that starts with `where`."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: invalid JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError) as error:  # an integer of 5,000 digits; brackets 100,000 deep
        raise UserError(f"{where}: invalid JSON: {str(error).splitlines()[0][:80]}") from None
    if not isinstance(row, dict):
        raise UserError(f"{where}: must be one JSON object, but is {show(row)}")
    return row


def show_names(names: Iterable[str]) -> str:
    """A file's columns or keys for an error message: one line, not too long."""
    text = ", ".join(name if name.isprintable() else ascii(name) for name in islice(names, 20))
    return text if len(text) <= 200 else text[:197] + "..."


def show(value: object) -> str:
    """A value for an error message: one short line, whatever is in it."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    if isinstance(value, int) and abs(value) >= 10**40:
        return "an integer of over 40 digits"
    text = ascii(value[:60] if isinstance(value, str) else value)
    return text if len(text) <= 60 else text[:57] + "..."
