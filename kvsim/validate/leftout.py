"""Measured chips and links as if they had not been: by a relative's curve, by another generation's, by datasheet rates.

`python -m kvsim.validate.leftout` writes hardware/calibration/left_out.csv, what `kvsim validate --borrow` shows where
the published tables are not at hand.
"""

import csv
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kvsim import find, oneop
from kvsim.cost import kernels
from kvsim.cost.calibration import NOTHING, Fitted, Residuals, borrowed_error
from kvsim.cost.curves import Floats
from kvsim.cost.rates import Rates
from kvsim.cost.source import MARGINS
from kvsim.specs.hardware import Chip, Link
from kvsim.validate.compare import names
from kvsim.validate.published import read
from kvsim.validate.residuals import predicted, residuals
from kvsim.validate.rows import Rows

FILE = find.ROOT / "hardware" / "calibration" / "left_out.csv"
DATASHEET = "datasheet"
COLD = 0.01  # the largest share in L2 of a row that datasheet rates are held against
HIDDEN = 0.5  # or, of prompts, the largest share of its FLOPs' seconds that HBM would take, so that L2 hides nothing
CAST = "with the cast of activations"  # of a kernel whose seconds hold another one's
OF_H100S = "links of H100s"
BETWEEN_OTHERS = "NVIDIA H200"  # whose links are those of the H100s that curves were fitted to
LARGE_BYTES = 1e6  # of copies that wait for the link, not for their start
PINNED = "cudaMemcpyAsync, pinned"
SOME = "h100"  # a machine whose other parts do not matter; its host link is the one that was measured
PASSES = {"h100-sxm": "h100", "h200-sxm": "h200"}


@dataclass(frozen=True)
class Lent:
    """A measured chip or link priced by another's curve, or (`lender` "datasheet") by datasheet rates.

    `margin`: what such a chip is promised in the median; None where kvsim would not borrow. `recomputed`: or as
    committed.
    """

    name: str
    op: str
    dtype: str
    kernel: str
    lender: str
    margin: float | None
    residuals: Residuals
    recomputed: bool = True

    @property
    def holds(self) -> bool | None:
        """Whether the margin is true in the median."""
        return None if self.margin is None else self.residuals.median <= self.margin


def lent(hw: str | None = None) -> list[Lent]:
    """Each measured chip and link as if it had not been measured; as committed where its measurements are not here."""
    known = names(hw)
    fresh = [one for name in known for one in (*_kernels(name), *_passes(name))]
    keys = {_key(one) for one in fresh}
    return sorted([*fresh, *(one for one in committed() if one.name in known and _key(one) not in keys)], key=_key)


def committed() -> Iterator[Lent]:
    """What hardware/calibration/left_out.csv holds."""
    with FILE.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            left = Residuals(
                rows=int(row["rows"]),
                worst_shape=row["worst_shape"],
                **{name: float(row[name]) for name in ("median", "p90", "worst")},
            )
            named = {name: row[name] for name in ("name", "op", "dtype", "kernel", "lender")}
            yield Lent(
                **named,
                margin=_margin(row["name"], row["op"], row["lender"]),
                residuals=left,
                recomputed=False,
            )


def _key(one: Lent) -> tuple[str, ...]:
    return one.name, one.op, one.dtype, one.kernel, "~" if one.lender == DATASHEET else one.lender


def _margin(name: str, op: str, lender: str) -> float | None:
    """What kvsim would say of such a price."""
    if lender == DATASHEET:
        return MARGINS[op]
    return borrowed_error(op) if lender == OF_H100S or lender in relatives(name) else None


def relatives(name: str) -> set[str]:
    """Chips of the same generation, whose curves a chip borrows: named in its calibration, or naming it in theirs."""
    pairs = set()
    for other in set(find.names("hardware/calibration")) & set(find.names("hardware/chips")):
        found = find.calibrated(other)
        lenders = {one.measured_on for one in found.calibration.curves if one.measured_on}
        pairs |= {(other, lender) for lender in ({found.lender} if found.lender else lenders)}
    return {b for a, b in pairs if a == name} | {a for a, b in pairs if b == name}


def _kernels(name: str) -> Iterator[Lent]:
    """The kernels that runs on a chip or link are priced by."""
    part, own = find.part(name), find.calibrated(name)
    for one in own.calibration.curves:
        first = own.curve(one.op, one.dtype) is one
        if one.measured_on or one.op not in oneop.KINDS or (one.op == "copy" and not one.kernel.startswith(PINNED)):
            continue
        if one.op == "attention_prefill" and one.dtype != "bf16":
            continue  # `kvsim op` prices prompts' attention in 16 bits
        rows = read(name, one.op, one.dtype, one.tables, one.where)
        if rows is None:
            continue
        if isinstance(part, Chip):
            yield from _by_others(name, part, one, rows, first)
        elif "device" in one.where:
            yield from _between_others(name, one)
        if not first or one.op not in MARGINS:  # a usual share is of a class of models' Ops and its first kernel
            continue
        if isinstance(part, Chip):
            rows = _cold(part, one, rows)
        elif one.op == "copy":
            rows = rows.where(rows.shape["bytes"] >= LARGE_BYTES)
        yield Lent(
            name, one.op, one.dtype, one.kernel, DATASHEET, MARGINS[one.op], residuals(rows, _seconds(part, one, rows))
        )


def _by_others(name: str, part: Chip, one: Fitted, rows: Rows, first: bool) -> Iterator[Lent]:
    """By other chips' curves: by all in 16 bits, by relatives in any type; not a class's first kernel: by the same."""
    for lender in names(None):
        curves = find.calibrated(lender)
        same = curves.curve(one.op, one.dtype, one.kernel)
        other = same or (curves.curve(one.op, one.dtype) if first else None)
        if lender == name or other is None or not isinstance(find.part(lender), Chip):
            continue
        margin = _margin(name, one.op, lender)
        if margin is not None or one.dtype == "bf16":
            left = residuals(rows, predicted(other.alone, part, rows, one.benchmark))
            yield Lent(name, one.op, one.dtype, one.kernel, lender, margin, left)


def _between_others(name: str, one: Fitted) -> Iterator[Lent]:
    """Curves of a link that were fitted between chips of one kind, against rows between others."""
    rows = read(name, one.op, one.dtype, one.tables, one.where | {"device": BETWEEN_OTHERS})
    assert rows is not None
    left = residuals(rows, predicted(one.curve, find.part(name), rows, one.benchmark))
    yield Lent(name, one.op, one.dtype, one.kernel, OF_H100S, _margin(name, one.op, OF_H100S), left)


def _cold(part: Chip, one: Fitted, rows: Rows) -> Rows:
    """Rows that a benchmark's repetitions in L2 do not shorten."""
    hot = np.broadcast_to(np.asarray(rows.hot(one.benchmark, part.l2)), len(rows))
    if one.op != "attention_prefill":
        return rows.where(hot < COLD)
    op, rates = _op(rows), _rates(part)
    terms = rates.terms(op)
    computed = np.maximum(terms["bf16 FLOPs"], terms["longest tile"])
    return rows.where((hot < COLD) | (np.asarray(terms[rates.memory_name(op)]) < HIDDEN * computed))


def _rates(part: Chip | Link) -> Rates:
    """Rates of a part of which nothing was measured; other parts of the machine do not matter."""
    machine = replace(find.machine(SOME), host_curves=None)
    rates = replace(Rates.of(machine, 1), curves=NOTHING, peer_curves=NOTHING)
    return replace(rates, chip=part) if isinstance(part, Chip) else replace(rates, peer=part)


def _op(rows: Rows) -> Any:
    shape: dict[str, Any] = dict(rows.shape)
    if "gemm" in rows.op:
        shape |= {"dtype": rows.dtype}
    elif rows.op == "attention_decode":
        shape |= {"kv_dtype": rows.dtype}
    return oneop.KINDS[rows.op](**shape)


def _seconds(part: Chip | Link, one: Fitted, rows: Rows) -> Floats:
    """Of rows by datasheet rates times a usual share."""
    rates = _rates(part)
    if one.op == "copy":
        return np.array([float(rates.seconds(oneop.KINDS["copy"](bytes=size, lane=one.dtype)))
                         for size in rows.shape["bytes"]])  # fmt: skip
    if one.op == "all_reduce":
        pairs = zip(rows.shape["bytes"], rows.shape["gpus"], strict=True)
        return np.array([float(rates.seconds(oneop.KINDS["all_reduce"](bytes=size, gpus=int(g)))) for size, g in pairs])
    found = np.asarray(rates.seconds(_op(rows)))
    if one.kernel.endswith(CAST):
        found = found + np.asarray(rates.seconds(kernels.elementwise("cast", 3.0 * rows.shape["m"] * rows.shape["k"])))
    return found


def _passes(name: str) -> Iterator[Lent]:
    """PyTorch's passes over memory, which have no curve: by datasheet rates."""
    if name not in PASSES:
        return
    import pandas as pd

    frame = pd.read_csv(FILE.parent / name / "elementwise.csv")
    frame = frame[frame["l2"] == "cold"]
    moved, launches = (frame[column].to_numpy(np.float64) for column in ("bytes", "launches"))
    rows = Rows("elementwise", "bf16", {"bytes": moved, "launches": launches}, frame["seconds"].to_numpy(np.float64))
    rates = _rates(find.part(name))
    each = zip(moved, launches, strict=True)
    seconds = np.array([float(rates.seconds(kernels.elementwise("pass", size, times))) for size, times in each])
    yield Lent(
        name, "elementwise", "bf16", "PyTorch's passes", DATASHEET, MARGINS["elementwise"], residuals(rows, seconds)
    )


def main() -> None:
    """Write what was found; every published table must be at hand."""
    found = [one for one in lent() if one.recomputed]
    if absent := set(names(None)) - {one.name for one in found}:
        sys.exit(f"{', '.join(sorted(absent))}: no table was found; KVSIM_SHARED names the folder of published ones")
    with FILE.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(("name", "op", "dtype", "kernel", "lender", "rows", "median", "p90", "worst", "worst_shape"))
        for one in found:
            left = one.residuals
            figures = (left.rows, left.median, left.p90, left.worst, left.worst_shape)
            lines.writerow((one.name, one.op, one.dtype, one.kernel, one.lender, *figures))


if __name__ == "__main__":
    main()
