"""Comparisons as text and as the object that `--json` prints."""

from collections.abc import Mapping, Sequence
from typing import Any

from kvsim.cost.calibration import InSteps, Residuals
from kvsim.report.words import percent
from kvsim.validate.compare import Comparison
from kvsim.validate.leftout import Lent

_WIDTHS = "{:<15}{:<22}{:<6}{:>7}{:>9}{:>9}{:>9}  {}"


def render(
    compared: Sequence[Comparison],
    steps: Sequence[tuple[str, InSteps]],
    whole: Mapping[tuple[str, str], Residuals],
    borrowed: Sequence[Lent],
) -> str:
    """Tables of held-out residuals, of coefficients inside steps, of whole steps, and of chips as if not measured."""
    heads = ("chip or link", "op", "dtype", "rows", "median", "p90", "worst", "at")
    lines = ["predicted against measured, shapes that no fit saw", _WIDTHS.format(*heads)]
    for one in compared:
        marked = "" if one.rows is not None else " *"
        lines.append(_row(one.fitted.host or one.name, one.fitted.op, one.fitted.dtype + marked, one.residuals))
        if one.residuals_512:
            lines.append(_row("", "  n, k >= 512", "", one.residuals_512))
    if any(one.rows is None for one in compared):
        lines += ["* as committed: the published tables are not at hand (KVSIM_SHARED names their folder)"]
    lines += ["", "attention inside a step: coefficients against the curve"] if steps else []
    for name, found in steps:
        lines.append(_row(name, found.op.removeprefix("attention_"), found.dtype, found.against_curve))
        lines += [_row("", "  measured", "", found.measured)] if found.measured else []
    lines += ["", "whole steps of llama-3-8b, added up from measured kernels"] if whole else []
    for (kind, label), left in whole.items():
        lines.append(_row("rtx-4090", kind, "bf16", left, f"by {label}"))
    if borrowed:
        lines += ["", "measured chips as if they were not: priced by another's curve, and by datasheet rates"]
        lines += [_lent(one) for one in borrowed]
        lines += _verdict(borrowed)
    lines += ["", "kernels"]
    for one in compared:
        fitted = one.fitted
        about = f"{fitted.kernel}; {fitted.source}, {fitted.licence}; fitted {fitted.fitted}"
        lines.append(f"{fitted.host or one.name:<15}{fitted.op:<22}{fitted.dtype:<6}{about}")
    return "\n".join(line.rstrip() for line in lines)


def _lent(one: Lent) -> str:
    said = "" if one.margin is None else f", {one.margin:.0%} said: ".replace("%", " %")
    said += {None: "", True: "holds", False: "FAILS"}[one.holds]
    dtype = one.dtype if one.recomputed else f"{one.dtype} *"
    return _row(one.name, one.op, dtype, one.residuals, f"by {one.lender}{said}; {one.kernel}")


def _verdict(borrowed: Sequence[Lent]) -> list[str]:
    """Whether what kvsim says of prices without measurements is true of those that can be checked."""
    said = [one for one in borrowed if one.margin is not None]
    wrong = [f"{one.name} {one.op} {one.dtype} by {one.lender}" for one in said if not one.holds]
    lines = ["* as committed: the published tables are not at hand"] if any(not one.recomputed for one in said) else []
    if not said:
        return lines
    told = f"margins in the median: {len(said) - len(wrong)} of {len(said)} hold"
    return [*lines, told + (f"; not {', '.join(wrong)}" if wrong else "")]


def _row(name: str, op: str, dtype: str, found: Residuals, where: str = "") -> str:
    worst = f"{found.worst:+.0%}".replace("%", " %")
    figures = (f"{found.rows:,}", percent(found.median), percent(found.p90), worst)
    return _WIDTHS.format(name, op, dtype, *figures, where or found.worst_shape)


def to_json(
    compared: Sequence[Comparison],
    steps: Sequence[tuple[str, InSteps]],
    whole: Mapping[tuple[str, str], Residuals],
    borrowed: Sequence[Lent],
) -> dict[str, Any]:
    """The object that `--json` prints: shares, not percents; `recomputed` tells fresh figures from committed ones."""
    return {
        "comparisons": [
            {
                "name": one.name,
                **one.fitted.model_dump(include={"op", "dtype", "kernel", "host", "source", "licence", "fitted"}),
                **one.residuals.model_dump(),
                "n_k_512": one.residuals_512.model_dump() if one.residuals_512 else None,
                "recomputed": one.rows is not None,
            }
            for one in compared
        ],
        "in_steps": [
            {
                "name": name,
                "op": one.op,
                "dtype": one.dtype,
                "kernel": one.kernel,
                **one.against_curve.model_dump(),
                "measured": one.measured.model_dump() if one.measured else None,
            }
            for name, one in steps
        ],
        "whole_steps": [
            {"name": "rtx-4090", "kind": kind, "rates": label, **left.model_dump()}
            for (kind, label), left in whole.items()
        ],
        "not_measured": [
            {
                **{key: getattr(one, key) for key in ("name", "op", "dtype", "kernel", "lender", "margin", "holds")},
                **one.residuals.model_dump(),
                "recomputed": one.recomputed,
            }
            for one in borrowed
        ],
    }
