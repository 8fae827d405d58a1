"""A finished sweep as tables: results.csv, results.parquet, results.json. Equal sweeps give equal bytes."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kvsim
from kvsim.study.point import Outcome
from kvsim.study.points import Plan

_LEFT_OUT = ("names", "assumptions", "bound")  # columns are figures; results.json has these too


def results(plan: Plan, outcomes: list[Outcome]) -> dict[str, Any]:
    """The object that results.json holds: each point with its options, and its figures or what is wrong."""
    points = []
    for outcome in outcomes:
        point: dict[str, Any] = {"point": outcome.number, "varied": plan.shown(outcome.number)}
        point |= {"options": plan.points[outcome.number], "status": outcome.status}
        if outcome.status == "done":
            point["figures"] = json.loads(outcome.text)
        else:
            point["error"] = outcome.text
        points.append(point)
    return {"study": plan.name, "kvsim": kvsim.__version__, "varied": list(plan.varied), "points": points}


def rows(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each point: its number, what is varied, status, error, then figures by dotted names."""
    flat = []
    for point in found["points"]:
        row = {"point": point["point"], **point["varied"], "status": point["status"], "error": point.get("error")}
        figures = {key: value for key, value in point.get("figures", {}).items() if key not in _LEFT_OUT}
        flat.append(row | dict(_leaves(figures)))
    keys = list(dict.fromkeys(key for row in flat for key in row))
    return [{key: row.get(key) for key in keys} for row in flat]


def write(found: Mapping[str, Any], folder: Path) -> None:
    """Write the three files, each as a whole."""
    lines = rows(found)
    _replace(folder / "results.json", (json.dumps(found, indent=1, allow_nan=False) + "\n").encode())
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(lines)
    _replace(folder / "results.csv", text.getvalue().encode())
    _replace(folder / "results.parquet", _parquet(lines))


def _leaves(figures: Mapping[str, Any], above: str = "") -> list[tuple[str, Any]]:
    """(dotted name, value) of all figures that are no lists."""
    found: list[tuple[str, Any]] = []
    for key, value in figures.items():
        if isinstance(value, dict):
            found += _leaves(value, f"{above}{key}.")
        elif not isinstance(value, list):
            found.append((above + key, value))
    return found


def _parquet(lines: list[dict[str, Any]]) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    columns = {}
    for key in lines[0]:
        values = [line[key] for line in lines]
        kinds = {type(value) for value in values if value is not None}
        if kinds == {int, float}:
            values = [None if value is None else float(value) for value in values]
        elif len(kinds) > 1:
            values = [None if value is None else str(value) for value in values]
        columns[key] = pa.array(values)
    sink = io.BytesIO()
    parquet.write_table(pa.table(columns), sink, compression="zstd")
    return sink.getvalue()


def _replace(path: Path, content: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    part.replace(path)
