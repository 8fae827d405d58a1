"""Where a report's figures come from: the program, the command, and hashes of every file that was read."""

import hashlib
from pathlib import Path
from typing import Any

import kvsim
from kvsim import find
from kvsim.replay import Report
from kvsim.traces.open import files


def provenance(report: Report, source: str | Path, command: str) -> dict[str, Any]:
    """The provenance of a run of `source` (what `kvsim run` was given), `command` being what was typed."""
    names = report.names
    read = find.data_files(names["hw"], names["model"])
    traces = {_shown(path): path for path in files(source)}
    return {
        **report.figures["provenance"],
        "kvsim": kvsim.__version__,
        "command": command,
        "sha256": {
            "trace": {name: sha256(path) for name, path in traces.items()},
            "data": {name: sha256(path) for name, path in sorted(read.items())},
        },
    }


def sha256(path: Path) -> str:
    """Of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _shown(path: Path) -> str:
    return str(path.relative_to(find.ROOT)) if path.is_relative_to(find.ROOT) else str(path)
