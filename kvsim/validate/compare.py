"""What `kvsim validate` shows: curves against held-out rows."""

from dataclasses import dataclass

from kvsim import find
from kvsim.cost.calibration import Fitted, InSteps, Residuals
from kvsim.cost.curves import Floats
from kvsim.errors import UserError, unknown
from kvsim.validate.published import read
from kvsim.validate.residuals import predicted, residuals, residuals_512
from kvsim.validate.rows import Rows


@dataclass(frozen=True)
class Comparison:
    """One curve of a chip or link (`name`): held-out rows with their predictions, none if no table is at hand."""

    name: str
    fitted: Fitted
    residuals: Residuals
    residuals_512: Residuals | None
    rows: Rows | None
    predicted_s: Floats | None


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
