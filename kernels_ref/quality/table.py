"""The file of results: a row appended as soon as it is measured, so an interrupted run goes on where it stopped."""

import csv
import os
import platform
import shlex
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from kernels_ref.quality.row import COLUMNS, Row, cells, of_cells

ORIGIN = ("model", "device", "python", "torch", "command")
HEAD = (*COLUMNS, *ORIGIN)
Key = tuple[str, str, str]  # policy, budget, text


def key(policy: str, budget: float | None, text: str) -> Key:
    """What a row is found by."""
    return policy, "" if budget is None else f"{budget:.5g}", text


def origin(model: str, device: str) -> dict[str, str]:
    """Where rows of this run come from; files of the command by their names."""
    words = [Path(word).name if "/" in word else word for word in sys.argv[1:]]
    return {
        "model": model,
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "command": shlex.join(["python -m kernels_ref.quality", *words]).replace("'", ""),
    }


class Table:
    """Rows under `path`, and those of other shards' files beside it, which count as done."""

    def __init__(self, path: Path, others: Iterable[Path] = ()) -> None:
        self.path = path
        if path.is_file() and path.stat().st_size:
            _cut_off(path)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(",".join(HEAD) + "\n", encoding="utf-8")
        self.done = {found for file in (path, *others) if file.is_file() for found in lines(file)}

    def add(self, row: Row, where: Mapping[str, str]) -> None:
        """Appends a row, and waits until it is on the disk."""
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerow([*cells(row), *(where[name] for name in ORIGIN)])
            file.flush()
            os.fsync(file.fileno())
        self.done.add(key(row.policy, row.budget, row.text))


def lines(path: Path) -> dict[Key, list[str]]:
    """Rows of a file by key, as texts in the order of HEAD.

    Raises:
        ValueError: it has other columns.
    """
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        if tuple(next(reader, ())) != HEAD:
            raise ValueError(f"{path}: has other columns than this version writes; give another --out")
        return {(row[0], row[1], row[3]): row for row in reader if len(row) == len(HEAD)}


def read(path: Path) -> list[Row]:
    """All rows of a file."""
    return [of_cells(dict(zip(HEAD, row, strict=True))) for row in lines(path).values()]


def gather(paths: Iterable[Path], out: Path) -> int:
    """Writes the rows of several files into one, ordered by policy, budget and text; how many there are."""
    found: dict[Key, list[str]] = {}
    for path in paths:
        found |= lines(path)
    ordered = sorted(found.values(), key=lambda row: (row[0], -float(row[1] or 2), row[3]))
    part = out.with_suffix(".part")
    with part.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([HEAD, *ordered])
    part.replace(out)
    return len(ordered)


def _cut_off(path: Path) -> None:
    """Removes a last line that has no end: the run was killed while it wrote it."""
    text = path.read_bytes()
    if not text.endswith(b"\n"):
        path.write_bytes(text[: text.rfind(b"\n") + 1])
