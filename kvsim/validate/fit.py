"""Fit curves to one half of the measurements: `python -m kvsim.validate.fit [CHIP ...]` writes their calibrations.

Errors are logarithms of predicted over measured seconds, with a loss that grows linearly beyond 10 %: kernels that a
library switches to at single shapes do not bend the curve. Needs scipy.
"""

import sys
from typing import Any

import numpy as np

from kvsim import find
from kvsim.cost.calibration import Calibration, Fitted, Hot, InSteps, Switches, form
from kvsim.cost.curves import Floats
from kvsim.cost.curves.switches import SwitchedCurve, factors
from kvsim.specs.hardware import Chip
from kvsim.validate.instep import OWN as OWN_KERNELS
from kvsim.validate.instep import beside_chunk, in_steps
from kvsim.validate.mixed import with_mixed
from kvsim.validate.ownplans import OWN
from kvsim.validate.plan import Plan
from kvsim.validate.plans import MOST, PLANS, START
from kvsim.validate.power import power
from kvsim.validate.published import read
from kvsim.validate.residuals import predicted, residuals, residuals_512
from kvsim.validate.rows import Rows
from kvsim.validate.solve import digits, solve
from kvsim.validate.vllmplans import VLLM
from kvsim.validate.yamlfile import write

ALL = (*PLANS, *OWN, *VLLM)
MOST_ROWS = 2000
APART = "paged_decode"  # decodes by a kernel of their own, also beside a chunk


def parameters(plan: Plan, part: Any, seen: Rows) -> tuple[dict[str, float | int | bool], Hot | None]:
    """Of `plan`'s curve, fitted to some rows, and what of its benchmark stayed in L2."""
    if len(seen) > MOST_ROWS:
        seen = seen.where(np.random.default_rng(0).permutation(len(seen))[:MOST_ROWS])
    start = {
        name: value for name, value in (START[plan.form or plan.op] | plan.start).items() if name not in plan.given
    }
    if plan.benchmark:
        start["l2_share"] = plan.benchmark.l2_share

    def build(x: Floats) -> tuple[dict[str, float | int | bool], Hot | None]:
        found = {name: min(float(np.exp(v)), MOST.get(name, np.inf)) for name, v in zip(start, x, strict=True)}
        share = found.pop("l2_share", 0.0)
        hot = Hot(copies=plan.benchmark.copies, l2_share=digits(share)) if plan.benchmark else None
        return {**{name: digits(value) for name, value in found.items()}, **plan.given}, hot

    def errors(x: Floats) -> Floats:
        found, hot = build(x)
        left: Floats = np.log(predicted(form(plan.form or plan.op)(**found), part, seen, hot) / seen.seconds)
        return left

    return build(solve(errors, np.log(np.array(list(start.values())))))


def fit(plan: Plan, part: Any, rows: Rows) -> Fitted:
    """The curve of `plan` fitted to the rows that are not held out, with residuals of those that are."""
    fitted, hot = parameters(plan, part, rows.where(~rows.held))
    held = rows.where(rows.held)
    curve = form(plan.form or plan.op)(**fitted)
    table = None
    if plan.switches:
        seen = rows.where(~rows.held)
        found = factors(plan.switches, seen.shape, seen.seconds / predicted(curve, part, seen, hot))
        table = Switches(bounds=[list(limits) for limits in plan.switches], factors=found)
        curve = SwitchedCurve(curve, table.bounds, table.factors)
    left_s = predicted(curve, part, held, hot)
    about = {
        "op": plan.op,
        "dtype": plan.dtype,
        "kernel": plan.kernel,
        "source": plan.origin.source,
        "licence": plan.origin.licence,
    }
    return Fitted(
        **about,
        tables=list(plan.tables),
        where=plan.where,
        form=plan.form,
        measured_on=plan.measured_on,
        host=plan.host,
        fitted=plan.fitted,
        parameters=fitted,
        switches=table,
        held_out=residuals(held, left_s),
        held_out_512=residuals_512(held, left_s),
        benchmark=hot,
    )


def main(names: list[str]) -> None:
    """Fit the plans of some chips and links, or of all."""
    for name in names or dict.fromkeys(plan.part for plan in ALL):
        part, curves = find.part(name), []
        for plan in (plan for plan in ALL if plan.part == name):
            of = plan.measured_on or name
            rows = read(of, plan.op, plan.dtype, plan.tables, plan.where)
            if rows is None:
                sys.exit(f"{plan.tables[0]}: not found; KVSIM_SHARED names the folder that holds measurements/")
            found = fit(plan, find.part(of), rows)
            curves.append(found)
            left = found.held_out
            print(f"{name} {plan.op} {plan.dtype}: {left.rows} held out, median {left.median:.1%}, p90 {left.p90:.1%}")
        calibration = Calibration(curves=curves)
        if isinstance(part, Chip):
            calibration = Calibration(curves=curves, in_steps=_in_steps(curves, part), power=power(name))
            calibration = with_mixed(name, calibration, part)
        write(name, calibration)


def _in_steps(curves: list[Fitted], chip: Chip) -> list[InSteps]:
    """Coefficients of attention over a 16-bit cache, and over caches that have kernels of their own.

    Those of each class's first kernel come before others'.
    """
    attention = [one for one in curves if one.op.startswith("attention") and one.dtype == "bf16"]
    first = {one.op: one for one in reversed(attention)}
    others = (one for one in attention if first[one.op] is not one)
    kernels = [*first.values(), *(one for one in curves if one.op in OWN_KERNELS), *others]
    found = [coefficients for one in kernels for coefficients in in_steps(one, chip)]
    prefill, decode = first.get("attention_prefill"), first.get("attention_decode")
    if prefill is None or (decode and decode.form == APART):
        return found
    return [*found, beside_chunk(prefill, chip)]


if __name__ == "__main__":
    main(sys.argv[1:])
