"""Packed files, told by their first bytes: gzip, xz, zst, or plain."""

import gzip
import io
import lzma
import zlib
from pathlib import Path
from typing import IO, Any

KINDS = "plain, gzip, xz or zst"
FAULTS = (OSError, EOFError, zlib.error, lzma.LZMAError)  # of a damaged or cut file; gzip's and zst's own are OSErrors
_GZIP, _XZ, _ZST = b"\x1f\x8b", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"
_PARQUET = b"PAR1"


def kind(path: Path) -> str:
    """ "gzip", "xz", "zst", "parquet", or "" for anything else. An OSError or ValueError if it cannot be opened."""
    with path.open("rb") as file:
        head = file.read(6)
    for name, magic in (("gzip", _GZIP), ("xz", _XZ), ("zst", _ZST), ("parquet", _PARQUET)):
        if head.startswith(magic):
            return name
    return ""


def unpacked(path: Path) -> IO[bytes]:
    """The file's content; reading it raises one of FAULTS where the file is damaged. To be closed."""
    packer = kind(path)
    if packer == "zst":
        return io.BufferedReader(_Zst(path))
    opener: Any = {"gzip": gzip.open, "xz": lzma.open}.get(packer, open)
    stream: IO[bytes] = opener(path, "rb")
    return stream


class _Zst(io.RawIOBase):
    """A zst file; pyarrow brings the library for it."""

    def __init__(self, path: Path) -> None:
        import pyarrow

        self._file = path.open("rb")
        self._stream = pyarrow.CompressedInputStream(pyarrow.PythonFile(self._file, mode="r"), "zstd")

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """As of any raw stream."""
        data: bytes = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            self._file.close()
        super().close()
