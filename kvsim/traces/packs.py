"""The .json files of a folder or a tar archive, or one file that is a JSON document: their names and bytes, in turn."""

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import orjson

from kvsim.errors import UserError
from kvsim.traces import containers
from kvsim.traces.containers import unpacked
from kvsim.traces.source import MAX_LINE_BYTES

MAX_DOCUMENT_BYTES = 2**30
_SUFFIX = ".json"
_FAULTS = (*containers.FAULTS, tarfile.TarError)
_TAR_BLOCK = 512
_TAR_MAGIC = slice(257, 262)
_MARK = b"\xef\xbb\xbf"


class Pack:
    """What `path` holds; `others` counts the files that were left out, as far as `contents` has come."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.others = 0

    def contents(self) -> Iterator[tuple[str, bytes]]:
        """(name, bytes) of each document: by name in a folder, in an archive as they come.

        Raises:
            UserError: no document, one above MAX_DOCUMENT_BYTES, a damaged or cut file or archive.
        """
        found = False
        for name, data in self._all():
            found = True
            yield name, data.removeprefix(_MARK)
        if not found:
            raise UserError(
                f"{self._path}: has no {_SUFFIX} files; expected a trace file, or a folder or tar archive of them"
            )

    def _all(self) -> Iterator[tuple[str, bytes]]:
        with _readable(self._path):
            if self._path.is_dir():
                yield from self._folder()
                return
            is_tar = _is_tar(self._path)
            with unpacked(self._path) as stream:
                if is_tar:
                    yield from self._members(stream)
                else:
                    yield str(self._path), _bounded(stream, str(self._path))

    def _folder(self) -> Iterator[tuple[str, bytes]]:
        for file in sorted(self._path.iterdir()):
            if self._counted(is_document(file)):
                with _readable(file), file.open("rb") as stream:
                    data = _bounded(stream, str(file))
                yield str(file), data

    def _members(self, stream: IO[bytes]) -> Iterator[tuple[str, bytes]]:
        recent = _Recent(stream)
        with tarfile.open(fileobj=cast(IO[bytes], recent), mode="r|") as archive:
            for member in archive:
                if member.isdir() or not self._counted(member.isfile() and _is_name(Path(member.name).name)):
                    continue
                name = f"{self._path}: {member.name if member.name.isprintable() else ascii(member.name)}"
                file = archive.extractfile(member)
                assert file
                yield name, _bounded(file, name)
            if recent.at(archive.offset) != bytes(_TAR_BLOCK):  # tarfile takes any other end for one too
                raise UserError(f"{self._path}: the tar archive is damaged or cut off after {archive.offset} bytes")
        while recent.read(1 << 20):
            pass  # to the end, so that a fault there is found

    def _counted(self, found: bool) -> bool:
        self.others += not found
        return found


class _Recent:
    """A stream that remembers the last of what was read: at least what `tarfile` reads ahead."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._end = 0
        self._last = b""

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._end += len(data)
        self._last = self._last[-2 * tarfile.RECORDSIZE :] + data
        return data

    def at(self, offset: int) -> bytes:
        """The tar block at `offset`."""
        start = offset - (self._end - len(self._last))
        return self._last[start : start + _TAR_BLOCK] if start >= 0 else b""


def is_document(path: Path) -> bool:
    """Whether `path` is a file that is read as a document where it is in a folder."""
    return _is_name(path.name) and path.is_file()


def _is_name(name: str) -> bool:
    return name.endswith(_SUFFIX) and not name.startswith(".")


def holds_documents(path: Path) -> bool:
    """Whether `path` is a folder, archive or JSON array, or begins with an object that its first line does not end."""
    if path.is_dir():
        return True
    if not path.is_file():
        return False
    try:
        if _is_tar(path):
            return True
        with unpacked(path) as stream:
            line = b""
            while not line.strip():
                line = stream.readline(MAX_LINE_BYTES)
                if not line:
                    return False
    except (*_FAULTS, ValueError):
        return False  # reading it as rows says what is wrong
    line = line.removeprefix(_MARK).strip()
    if not line.startswith(b"{"):
        return line.startswith(b"[")
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return bool(error.pos >= len(line))
    return False


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except _FAULTS as error:
        what = getattr(error, "strerror", None) or f"is damaged or cut off: {error}"
        raise UserError(f"{path}: {what}") from None


def _is_tar(path: Path) -> bool:
    with unpacked(path) as stream:
        return stream.read(_TAR_BLOCK)[_TAR_MAGIC] == b"ustar"


def _bounded(stream: IO[bytes], where: str) -> bytes:
    data = stream.read(MAX_DOCUMENT_BYTES + 1)
    if len(data) > MAX_DOCUMENT_BYTES:
        raise UserError(f"{where}: is longer than {MAX_DOCUMENT_BYTES} bytes; a document of a trace must fit in memory")
    return data
