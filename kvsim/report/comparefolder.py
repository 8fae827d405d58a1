"""`compare --out`: the table as a page, JSON and CSV with its plot, or the plot alone where a .png is named."""

import csv
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import kvsim
from kvsim import find
from kvsim.decide.compare import COLUMNS, Comparison
from kvsim.report.comparehtml import compare_page
from kvsim.report.compareplot import draw
from kvsim.report.files import COMPARED, COMPARISON, PAGE, check_file, check_folder, replacing_folder
from kvsim.report.provenance import sha256
from kvsim.traces.open import files
from kvsim.traces.write import replacing


def check(path: Path) -> None:
    """Find out now whether `write` will be able to.

    Raises:
        UserError: it will not.
    """
    if path.suffix == ".png":
        check_file(path)
    else:
        check_folder(path, COMPARED)


def write(found: Comparison, path: Path, source: str, command: str) -> str:
    """Write the folder or the .png as a whole; what was written, in a line.

    Args:
        source: what `kvsim compare` was given as TRACE. command: the whole command line.

    Raises:
        UserError: it cannot be written.
    """
    if path.suffix == ".png":
        with replacing(path) as file:
            draw(found, file)
        return f"{path}: the Pareto plot"
    origin = _provenance(found, source, command)
    report = found.to_json() | {"provenance": origin}
    with replacing_folder(path, COMPARED) as folder:
        (folder / COMPARISON).write_text(json.dumps(report, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        with (folder / "compare.csv").open("w", encoding="utf-8", newline="") as table:
            writer = csv.DictWriter(table, COLUMNS, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(asdict(row) for row in found.rows)
        with (folder / "pareto.png").open("wb") as image:
            draw(found, image)
        (folder / PAGE).write_text(compare_page(found, origin), encoding="utf-8")
    return f"{path}: {', '.join(COMPARED)}"


def _provenance(found: Comparison, source: str, command: str) -> dict[str, Any]:
    data = {name: path for row in found.rows for name, path in find.data_files(row.hw, found.model).items()}
    return {
        "kvsim": kvsim.__version__,
        "command": command,
        "sha256": {
            "trace": {path.name: sha256(path) for path in files(source)},
            "data": {name: sha256(path) for name, path in sorted(data.items())},
        },
    }
