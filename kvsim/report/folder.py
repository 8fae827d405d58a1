"""`--out DIR`: a report as files. report.json differs between equal runs in `wall_s` only, the others not at all."""

import json
from pathlib import Path

from kvsim.replay import Report
from kvsim.report.files import PAGE, REPORT, replacing_folder
from kvsim.report.html import run_page
from kvsim.report.plots import draw
from kvsim.report.provenance import provenance
from kvsim.report.record import Record
from kvsim.report.requests import write_requests


def write_report(report: Report, record: Record, path: Path, source: str, command: str) -> None:
    """Write the folder `path` as a whole, in the place of an older report.

    Args:
        source: what `kvsim run` was given as TRACE. command: the whole command line.

    Raises:
        UserError: it cannot be written.
    """
    origin = provenance(report, source, command)
    figures = report.figures | {"provenance": origin}
    with replacing_folder(path) as folder:
        (folder / REPORT).write_text(json.dumps(figures, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        write_requests(report.simulation.columns, folder / "requests.parquet")
        draw(report, record, folder)
        (folder / PAGE).write_text(run_page(report, record, origin), encoding="utf-8")
