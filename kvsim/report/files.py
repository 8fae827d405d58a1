"""A folder that is there as a whole or not at all, and whether it can be written before hours are spent on a run."""

import json
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from kvsim.errors import UserError
from kvsim.traces.write import replacing

COMPARISON = "compare.json"
REPORT, PAGE = "report.json", "report.html"
COMPARED = (COMPARISON, PAGE, "compare.csv", "pareto.png")
NAMES = (REPORT, PAGE, "requests.parquet", "latency.png", "memory.png", "batch.png")


def check_file(path: Path) -> None:
    """Find out now whether `path` can be written, and leave no trace of it.

    Raises:
        UserError: it cannot.
    """
    with suppress(_Enough), replacing(path):
        raise _Enough


def check_folder(path: Path, names: Sequence[str] = NAMES) -> None:
    """The same for a report's folder; of `names`, the first is the JSON that tells a report from strangers' files.

    Raises:
        UserError: it cannot be written, or holds something else than a report of kvsim.
    """
    with suppress(_Enough), replacing_folder(path, names):
        raise _Enough


@contextmanager
def replacing_folder(path: Path, names: Sequence[str] = NAMES) -> Iterator[Path]:
    """An empty folder to fill, which takes the place of `path` once all is written, and is removed if that fails.

    Raises:
        UserError: the parent is missing or not writable, the disk is full, or `path` is neither free nor a report.
    """
    try:
        target = path.resolve()
        _refuse_strangers(path, target, names)
        part = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}.part")
        try:
            part.mkdir()
            yield part
            _swap(part, target)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from None


def _swap(part: Path, target: Path) -> None:
    """Put `part` in the place of `target`, an old report if there is one; that comes back if the move fails."""
    old = part.with_suffix(".old")
    if target.exists():
        target.rename(old)
    try:
        part.rename(target)
    except BaseException:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _refuse_strangers(path: Path, target: Path, names: Sequence[str]) -> None:
    """Raise unless `target` is free, empty or a report that this program wrote."""
    if target == Path.cwd() or target in Path.cwd().parents:
        raise UserError(f"{path}: is the current folder or above it; name a folder of its own")
    if not target.parent.is_dir():
        raise UserError(f"{path}: cannot be written: {target.parent} is no folder")
    if not target.exists():
        return
    if not target.is_dir():
        raise UserError(f"{path}: is a file; a report needs a folder of its own")
    found = {entry.name for entry in target.iterdir()}
    if found and not (found <= set(names) and _is_report(target / names[0])):
        others = ", ".join(sorted(found - set(names))[:3]) or f"no {names[0]} of kvsim"
        raise UserError(f"{path}: is not empty and no report of kvsim (has {others}); name a new folder")


def _is_report(path: Path) -> bool:
    try:
        return "kvsim" in json.loads(path.read_text(encoding="utf-8"))["provenance"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


class _Enough(Exception):
    """Ends a rehearsal."""
