"""Executed steps, `hardware/calibration/<chip>/steps.csv`: one row a step, read as columns.

| column | meaning |
|---|---|
| model, tp, policy, fidelity | what ran; `policy` as kvsim writes it (`headinfer`, `kivi:bits=4`) |
| phase | decode, prefill or mixed |
| batch, context, prompt | sequences that decode a token, tokens of each after it, of which `prompt` are its prompt |
| new, past | a prompt's chunk: tokens, on top of earlier ones; 0 new for none |
| graphed | 1 for a step that ran as a CUDA graph |
| seconds, noise | GPU seconds of a step (median), and how far apart two such medians were |
| wall_s | seconds of the host for the same, 0 if not taken |
| peak_bytes, kv_bytes | allocated by the framework at most, and for the batch's cache, on one chip; 0 if not taken |
| provenance | device, versions, command |
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kvsim.errors import UserError
from kvsim.find import ROOT

FOLDER = ROOT / "hardware" / "calibration"
TEXTS = ("model", "policy", "fidelity", "phase", "provenance")
WHOLE = ("tp", "batch", "context", "prompt", "new", "past", "graphed", "peak_bytes", "kv_bytes")
REAL = ("seconds", "noise", "wall_s")
COLUMNS = (
    "model", "tp", "policy", "fidelity", "phase", "batch", "context", "prompt", "new", "past", "graphed", "seconds",
    "noise", "wall_s", "peak_bytes", "kv_bytes", "provenance",
)  # fmt: skip
PHASES = ("decode", "prefill", "mixed")
PACED_BY_HOST = 900  # prompts' tokens up to which a step that is no graph is paced by its launches


@dataclass(frozen=True)
class StepRow:
    """One executed step; fields as in the table above."""

    model: str
    policy: str
    fidelity: str
    phase: str
    provenance: str
    tp: int
    batch: int
    context: int
    prompt: int
    new: int
    past: int
    graphed: int
    peak_bytes: int
    kv_bytes: int
    seconds: float
    noise: float
    wall_s: float

    @property
    def paced_by_host(self) -> bool:
        """Whether the host sets its pace: short work that is launched kernel by kernel."""
        return not self.graphed and self.new <= PACED_BY_HOST

    @property
    def named(self) -> str:
        """Its shape in a few words."""
        parts = [f"batch {self.batch}, context {self.context:,}"] if self.batch else []
        parts += [f"{self.new:,} new on {self.past:,}"] if self.new else []
        return f"{self.model}: {', '.join(parts)}"


def chips(root: Path = FOLDER) -> list[str]:
    """Chips of which steps were logged."""
    return sorted(path.parent.name for path in root.glob("*/steps.csv"))


def read_steps(chip: str, root: Path = FOLDER) -> list[StepRow]:
    """The logged steps of a chip.

    Raises:
        UserError: a column is missing, a figure is none, a phase is unknown.
    """
    path = root / chip / "steps.csv"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise UserError(f"{path}: lacks the column {missing[0]!r}; it takes {', '.join(COLUMNS)}")
    return [_row(row, f"{path}:{line}") for line, row in enumerate(rows, 2)]


def _row(row: dict[str, str], where: str) -> StepRow:
    try:
        found = {name: row[name] for name in TEXTS}
        figures = {name: int(row[name]) for name in WHOLE} | {name: float(row[name]) for name in REAL}
    except (ValueError, TypeError) as error:
        raise UserError(f"{where}: {error}") from None
    if found["phase"] not in PHASES:
        raise UserError(f"{where}: phase must be one of {', '.join(PHASES)}, but got {found['phase']!r}")
    if not (0 < figures["seconds"] < float("inf")) or figures["batch"] + figures["new"] < 1:
        raise UserError(f"{where}: a step has tokens, and takes more than 0 seconds")
    return StepRow(**found, **figures)  # type: ignore[arg-type]


def column(rows: list[StepRow], name: str) -> NDArray[np.float64]:
    """One column as floats."""
    return np.array([float(getattr(row, name)) for row in rows])
