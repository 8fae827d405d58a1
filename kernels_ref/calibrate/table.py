"""The raw CSV of a class: appended to, so that an interrupted run goes on where it stopped."""

import csv
import hashlib
import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from kernels_ref.calibrate.point import Cell, Measured, Point

MEASURED = ("seconds", "noise", "clock_mhz", "power_w")
ORIGIN = ("device", "host", "driver", "torch", "triton", "version", "command")


class Table:
    """Rows of one class under `path`: shape columns, what was measured, where it comes from."""

    def __init__(self, path: Path, columns: Sequence[str], extra: Sequence[str], origin: Mapping[str, str]) -> None:
        self.path, self._shape, self._origin = path, tuple(columns), origin
        self.columns = (*columns, *MEASURED, *extra, *ORIGIN)
        self.done: set[tuple[str, ...]] = set()
        if path.is_file() and path.stat().st_size:
            self._resume()
        else:
            path.write_text(",".join(self.columns) + "\n", encoding="utf-8")

    def _resume(self) -> None:
        """Reads the rows that are there. Raises ValueError if they are another class's or another chip's."""
        text = self.path.read_text(encoding="utf-8")
        if not text.endswith("\n"):  # a row that was cut off
            self.path.write_text(text[: text.rfind("\n") + 1], encoding="utf-8")
        with self.path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != self.columns:
                raise ValueError(f"{self.path}: has other columns than {self.path.stem} writes; give another --out")
            for row in reader:
                if row["device"] != self._origin["device"]:
                    raise ValueError(f"{self.path}: was measured on {row['device']}; give another --out")
                self.done.add(tuple(row[name] for name in self._shape))

    def add(self, point: Point, found: Measured) -> None:
        """Appends a row."""
        figures = (found.seconds, found.noise, found.clock_mhz, found.power_w)
        row: dict[str, Cell] = {**point.cells, **dict(zip(MEASURED, map(short, figures), strict=True))}
        row |= {name: short(cell) for name, cell in found.extra.items()} | self._origin
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.columns, restval="").writerow(row)
        self.done.add(point.key)


def short(cell: Cell) -> Cell:
    """Five significant digits of a figure."""
    return f"{cell:.5g}" if isinstance(cell, float) else cell


def origin(driver: str) -> dict[str, str]:
    """Device, driver, versions, and the command with its files by their names."""
    import triton

    words = [Path(word).name if "/" in word else word for word in sys.argv[1:]]
    return {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "cpu",
        "host": host(),
        "driver": driver,
        "torch": torch.__version__,
        "triton": triton.__version__,
        "version": sources(),
        "command": shlex.join(["python -m kernels_ref.calibrate", *words]).replace("'", ""),
    }


def host() -> str:
    """The host's processor as it names itself, its CPUs, and six digits that tell one host from another."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").is_file() else ""
    known = dict(line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    known = {key.strip(): value.strip() for key, value in known.items()}
    kind = "/".join(known.get(key, "?") for key in ("cpu family", "model", "stepping"))
    board = str(torch.cuda.get_device_properties(0).uuid) if torch.cuda.is_available() else platform.node()
    told = hashlib.sha256(board.encode()).hexdigest()[:6]
    return f"{known.get('model name', platform.processor() or 'cpu')} {kind}; {os.cpu_count()} CPUs; {told}"


def sources() -> str:
    """Eight digits over this package's own kernels: another version of them gives another."""
    folder = Path(__file__).parents[1]
    found = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()[:8]
