"""A user's own measurements against what kvsim predicts for a machine: `kvsim validate --on mine --hw H`.

A CSV with a column `op`, a table that `kvsim calibrate` wrote (its name is the op), or a folder of such tables.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kvsim import find, oneop
from kvsim.cost.calibration import Residuals
from kvsim.cost.curves import Floats
from kvsim.cost.rates import Rates
from kvsim.cost.source import Source
from kvsim.errors import UserError, unknown
from kvsim.specs.hardware import DTYPE_BYTES, Machine
from kvsim.validate.residuals import residuals
from kvsim.validate.rows import SHAPES, Rows

COLUMNS = ("op", "dtype", "seconds")
OPS = ("gemm", "grouped_gemm", "attention_decode", "attention_prefill", "all_reduce")


@dataclass(frozen=True)
class Mine:
    """A class of Ops in a file: how far the machine's predictions are from it, and where they come from."""

    op: str
    dtype: str
    kernel: str
    residuals: Residuals
    source: Source


def mine(path: Path, hw: str) -> list[Mine]:
    """Rows of a CSV, or of a folder's, with the columns op, dtype, seconds and each op's arguments, by op and kernel.

    Rows of a kernel of which a curve is known are held against that one, others against the one that a run takes.

    Raises:
        UserError: an unreadable file, a missing column, a value that is not a positive number, no such op or machine.
    """
    machine = find.machine(hw)
    if not path.is_dir():
        return _of_file(path, machine)
    tables = [path / f"{op}.csv" for op in OPS if (path / f"{op}.csv").is_file()]
    if not tables:
        raise UserError(f"{path}: holds no table of {', '.join(OPS)}")
    return [one for table in tables for one in _of_file(table, machine)]


def _of_file(path: Path, machine: Machine) -> list[Mine]:
    frame, found = _read(path), []
    for (op, dtype, kernel), part in frame.groupby(["op", "dtype", "kernel"], sort=False):
        if op not in OPS:
            raise unknown("op", str(op), OPS, f"{path}:{part.index[0] + 2}")
        if dtype not in DTYPE_BYTES:
            raise unknown("dtype", str(dtype), DTYPE_BYTES, f"{path}:{part.index[0] + 2}")
        column = {name: _positive(path, part, name, 0 if name == "past" else None) for name in (*SHAPES[op], "seconds")}
        seconds = column.pop("seconds")
        rows = Rows(op, dtype, column, seconds)
        took, source = _predicted(machine, rows, kernel, path)
        found.append(Mine(op, dtype, kernel, residuals(rows, took), source))
    return found


def _predicted(machine: Machine, rows: Rows, kernel: str, path: Path) -> tuple[Floats, Source]:
    """Seconds of each row, and where they come from."""
    shape: dict[str, Any] = dict(rows.shape)
    if rows.op != "all_reduce":
        if rows.op != "attention_prefill":
            shape["kv_dtype" if rows.op == "attention_decode" else "dtype"] = rows.dtype
        rates, op = Rates.of(machine, 1), oneop.KINDS[rows.op](**shape)
        if rates.curves.curve(rows.op, rows.dtype, kernel):
            op = replace(op, shape={**op.shape, "kernel": kernel})
        return np.asarray(rates.seconds(op)), rates.source(op)
    took = np.zeros(len(rows))
    for gpus in np.unique(shape["gpus"]):
        if not 2 <= gpus <= machine.chips:
            raise UserError(
                f"{path}: gpus must be 2 to {machine.chips} ({machine.name} has that many), but got {gpus:g}"
            )
        these = shape["gpus"] == gpus
        rates, op = Rates.of(machine, int(gpus)), oneop.KINDS["all_reduce"](bytes=shape["bytes"][these], gpus=int(gpus))
        took[these] = rates.seconds(op)
    return took, rates.source(op)


def _read(path: Path) -> Any:
    import pandas as pd

    try:
        frame = pd.read_csv(path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    except (ValueError, UnicodeDecodeError) as error:  # pandas' parser errors, too
        raise UserError(f"{path}: is no CSV: {str(error).splitlines()[0]}") from None
    if "op" not in frame and path.stem in OPS:
        frame["op"] = path.stem
    if "kernel" not in frame:
        frame["kernel"] = ""
    for name in COLUMNS:
        if name not in frame:
            raise UserError(f"{path}: lacks the column {name!r}; it takes {', '.join(COLUMNS)} and each op's arguments")
    if frame.empty:
        raise UserError(f"{path}: holds no rows")
    return frame.fillna({"kernel": ""}).astype({"op": str, "dtype": str, "kernel": str})


def _positive(path: Path, part: Any, name: str, least: float | None) -> Floats:
    import pandas as pd

    if name not in part:
        op = part["op"].iloc[0]
        raise UserError(f"{path}: {op} needs the column {name!r}; it takes {', '.join(SHAPES[op])}")
    values = np.asarray(pd.to_numeric(part[name], errors="coerce"), np.float64)
    good = np.isfinite(values) & ((values > 0) if least is None else (values >= least))
    if not good.all():
        at = int(np.argmin(good))
        got = part[name].iloc[at]
        raise UserError(f"{path}:{part.index[at] + 2}: {name} must be a positive number, but got {got!r}")
    return values


def lines(found: list[Mine], path: Path, hw: str) -> Iterator[str]:
    """A table of them."""
    from kvsim.report.words import percent

    yield f"{path} against what is predicted for {hw}"
    yield f"{'op':<19}{'dtype':<7}{'rows':>7}{'median':>9}{'p90':>9}{'worst':>9}  at"
    for one in found:
        left = one.residuals
        worst = f"{left.worst:+.0%}".replace("%", " %")
        figures = f"{left.rows:>7,}{percent(left.median):>9}{percent(left.p90):>9}{worst:>9}"
        yield f"{one.op:<19}{one.dtype:<7}{figures}  {left.worst_shape}"
        yield f"{'':<19}{one.kernel and f'{one.kernel}, by: '}{one.source.text}"
