"""What `kvsim validate` shows: curves against held-out rows, and measured chips as if they had not been measured."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kvsim import find, oneop
from kvsim.cost.calibration import Fitted, InSteps, Residuals
from kvsim.cost.curves import Floats
from kvsim.cost.policykernels import KINDS as POLICY_KERNELS
from kvsim.cost.rates import Rates
from kvsim.errors import UserError, unknown
from kvsim.specs.hardware import Chip
from kvsim.validate.published import read
from kvsim.validate.residuals import predicted, residuals, residuals_512
from kvsim.validate.rows import Rows

BETWEEN_OTHERS = "NVIDIA H200"  # whose links are those of the H100s that curves were fitted to
COLD = 0.01  # the largest share in L2 of a row that datasheet rates are held against


@dataclass(frozen=True)
class Comparison:
    """One curve of a chip or link (`name`): held-out rows with their predictions, none if no table is at hand."""

    name: str
    fitted: Fitted
    residuals: Residuals
    residuals_512: Residuals | None
    rows: Rows | None
    predicted_s: Floats | None


@dataclass(frozen=True)
class Lent:
    """A measured chip priced by another's curve, or (`lender` "datasheet") by datasheet rates."""

    name: str
    op: str
    lender: str
    residuals: Residuals


def names(hw: str | None) -> list[str]:
    """Chips and links with curves of their own: all of them, or those of a machine.

    Raises:
        UserError: an unknown machine, or one of which nothing was measured.
    """
    known = [name for name in find.names("hardware/calibration") if find.calibrated(name).lender == ""]
    if hw is None or hw in known:
        return known if hw is None else [hw]
    if hw not in find.names("hardware/systems"):
        raise unknown("hw", hw, [*find.names("hardware/systems"), *known])
    system = find.system(hw)
    parts = [part for part in (system.chip, system.host_link, *system.peer_links) if isinstance(part, str)]
    found = list(dict.fromkeys(find.calibrated(part).lender or part for part in parts))
    if not (kept := [name for name in found if name in known]):
        raise UserError(f"validate --hw {hw}: nothing was measured of it; there are curves of {', '.join(known)}")
    return kept


def comparisons(hw: str | None = None) -> list[Comparison]:
    """Each curve against the measurements that its fit did not see."""
    found = []
    for name in names(hw):
        part = find.part(name)
        for one in find.calibrated(name).calibration.curves:
            if one.measured_on:  # shown with the lender's
                continue
            rows = read(name, one.op, one.dtype, one.tables, one.where)
            if rows is None:
                found.append(Comparison(name, one, one.held_out, one.held_out_512, None, None))
                continue
            held = rows.where(rows.held)
            seconds = predicted(one.curve, part, held, one.benchmark)
            all_of, large = residuals(held, seconds), residuals_512(held, seconds)
            found.append(Comparison(name, one, all_of, large, held, seconds))
    return found


def in_steps(hw: str | None = None) -> list[tuple[str, InSteps]]:
    """Coefficients that price attention inside a step, by chip."""
    return [(name, one) for name in names(hw) for one in find.calibrated(name).calibration.in_steps]


def lent(hw: str | None = None) -> Iterator[Lent]:
    """Each measured chip as if it had not been measured; nothing where its measurements are not at hand."""
    every = [name for name in names(None) if isinstance(find.part(name), Chip)]
    for name in names(hw):
        part = find.part(name)
        if not isinstance(part, Chip):
            yield from _between_others(name)
            continue
        own = find.calibrated(name)
        for one in own.calibration.curves:  # another than a class's first kernel: by the same one of another chip
            used = not one.measured_on and one.dtype == "bf16" and one.op in oneop.KINDS
            first = own.curve(one.op, one.dtype) is one
            rows = read(name, one.op, one.dtype, one.tables, one.where) if used else None
            if rows is None:
                continue
            for lender in every:
                curves = find.calibrated(lender)
                same = curves.curve(one.op, one.dtype, one.kernel)
                other = same or (curves.curve(one.op, one.dtype) if first else None)
                if lender != name and other:
                    seconds = predicted(other.curve, part, rows, one.benchmark)
                    whose = lender if first else f"{lender}, {one.kernel}"
                    yield Lent(name, one.op, whose, residuals(rows, seconds))
            if not first or one.op in POLICY_KERNELS:  # a usual share is of a class of models' Ops
                continue
            cold = rows.where(np.broadcast_to(np.asarray(rows.hot(one.benchmark, part.l2)) < COLD, len(rows)))
            if len(cold):
                yield Lent(name, one.op, "datasheet", residuals(cold, _datasheet_s(part, cold)))


def _between_others(link: str) -> Iterator[Lent]:
    """Curves of a link that were fitted between chips of one kind, against rows between others."""
    for one in find.calibrated(link).calibration.curves:
        if "device" in one.where:
            rows = read(link, one.op, one.dtype, one.tables, one.where | {"device": BETWEEN_OTHERS})
            assert rows is not None
            seconds = predicted(one.curve, find.part(link), rows, one.benchmark)
            yield Lent(f"{link} (H200)", one.op, f"{one.kernel}, of H100s", residuals(rows, seconds))


def _datasheet_s(chip: Chip, rows: Rows) -> Floats:
    """Seconds of rows by datasheet rates times a usual share."""
    machine = find.machine("h100")  # its links do not matter to kernels
    shape = dict(rows.shape) if "gemm" not in rows.op else rows.keyed
    return np.asarray(Rates(chip, machine.host_link, machine.peer_links[0]).seconds(oneop.KINDS[rows.op](**shape)))
