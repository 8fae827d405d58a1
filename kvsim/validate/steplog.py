"""Executed steps, `hardware/calibration/<chip>/steps.csv`: one row a step, as `kernels_ref.executor.steps` writes them.

| column | meaning |
|---|---|
| model, policy | what ran; `policy` as kvsim writes it (`headinfer`, `kivi:bits=4`) |
| tp, fidelity, block, width_tokens | chips, ideal or published, tokens of a page and of a row of the table of pages;
1, ideal, 16 and 0 (as replays have them) where the column is missing |
| phase | decode, prefill or mixed |
| decodes | `8x2048/2000+1x900/800`: sequences, tokens of each after the step, of which so many are its prompt |
| chunks | `512@1024+64@0`: new tokens of a prompt, on top of earlier ones; each is its prompt's last |
| graphed | 1 for a step that ran as a CUDA graph |
| seconds, noise | GPU seconds of a step (median of a series), and how far apart two such medians were |
| wall_s | seconds of the host for one run alone, until its tokens are there |
| before_bytes, peak_bytes | allocated by the framework before the step, and at most in it; 0 if not taken |
| kv_bytes, weight_bytes | set aside for the batch's cache in its home tier; weights |
| h2d_bytes_per_s | that the host's link carried from a fetched cache's own memory, nothing beside; empty elsewhere |
| device, driver, torch, triton, command | where it comes from |
"""

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvsim.errors import UserError
from kvsim.find import ROOT

FOLDER = ROOT / "hardware" / "calibration"
WHOLE = ("graphed", "before_bytes", "peak_bytes", "kv_bytes", "weight_bytes")
REAL = ("seconds", "noise", "wall_s")
COLUMNS = ("model", "policy", "phase", "decodes", "chunks", *WHOLE, *REAL, "device", "command")
MISSING = {"tp": "1", "fidelity": "ideal", "block": "16", "width_tokens": "0"}  # of columns that may be
PHASES = ("decode", "prefill", "mixed")
PACED_BY_HOST = 900  # prompts' tokens up to which a step that is no graph is paced by its launches,
BEHIND = 1.2  # unless the GPU was kept waiting till all were launched: the host took longer than the GPU, then
_DECODES, _CHUNKS = re.compile(r"(\d+)x(\d+)/(\d+)"), re.compile(r"(\d+)@(\d+)")


@dataclass(frozen=True)
class StepRow:
    """One executed step; fields as in the table above.

    Attributes:
        decodes: (sequences, context after the step, prompt) of those that decode a token.
        chunks: (new tokens, past tokens) of prompts.
    """

    model: str
    policy: str
    phase: str
    decodes: tuple[tuple[int, int, int], ...]
    chunks: tuple[tuple[int, int], ...]
    graphed: int
    before_bytes: int
    peak_bytes: int
    kv_bytes: int
    weight_bytes: int
    seconds: float
    noise: float
    wall_s: float
    tp: int = 1
    fidelity: str = "ideal"
    block: int = 16
    width_tokens: int = 0
    device: str = ""
    command: str = ""

    @property
    def batch(self) -> int:
        """Sequences that decode a token."""
        return sum(count for count, _, _ in self.decodes)

    @property
    def context(self) -> int:
        """Tokens of all decoding sequences."""
        return sum(count * context for count, context, _ in self.decodes)

    @property
    def new(self) -> int:
        """Prompt tokens read."""
        return sum(new for new, _ in self.chunks)

    @property
    def paced_by_host(self) -> bool:
        """Whether the host sets its pace: short work that is launched kernel by kernel."""
        return not self.graphed and self.new <= PACED_BY_HOST and self.wall_s < BEHIND * self.seconds

    @property
    def named(self) -> str:
        """Its shape in a few words."""
        parts = [f"{count} x {context:,} tokens" for count, context, _ in self.decodes]
        parts += [f"{new:,} new on {past:,}" for new, past in self.chunks]
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
    row = MISSING | {name: value for name, value in row.items() if value is not None}
    if row["phase"] not in PHASES:
        raise UserError(f"{where}: phase must be one of {', '.join(PHASES)}, but got {row['phase']!r}")
    decodes = _parts(row["decodes"], _DECODES, "8x2048/2000", f"{where}: decodes")
    chunks = _parts(row["chunks"], _CHUNKS, "512@1024", f"{where}: chunks")
    try:
        figures = {name: int(float(row[name] or 0)) for name in (*WHOLE, "tp", "block", "width_tokens")}
        real = {name: float(row[name] or 0) for name in REAL}
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None
    if not (0 < real["seconds"] < float("inf")) or not (decodes or chunks):
        raise UserError(f"{where}: a step has tokens, and takes more than 0 seconds")
    texts = {name: row[name] for name in ("model", "policy", "phase", "fidelity", "device", "command")}
    return StepRow(decodes=decodes, chunks=chunks, **texts, **figures, **real)  # type: ignore[arg-type]


def _parts(text: str, pattern: re.Pattern[str], example: str, where: str) -> tuple[Any, ...]:
    """The numbers of each of the parts that a plus joins."""
    matches = [(part, pattern.fullmatch(part)) for part in text.split("+") if part]
    for part, match in matches:
        if match is None:
            raise UserError(f"{where} must be as in {example}, joined by +, but got {part!r}")
    return tuple(tuple(map(int, match.groups())) for _, match in matches if match)


def column(rows: list[StepRow], name: str) -> NDArray[np.float64]:
    """One column as floats."""
    return np.array([float(getattr(row, name)) for row in rows])
