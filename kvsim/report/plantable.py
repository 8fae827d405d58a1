"""A plan as text: goodput with the replays that confirm it, what the wanted rate takes, what would change that."""

from collections.abc import Iterator, Sequence

from kvsim.decide.goodput import Point
from kvsim.decide.plan import Plan, PlanRow
from kvsim.report.comparetable import Style, aligned
from kvsim.report.table import wrapped
from kvsim.report.words import digits, percent, plural, seconds


def render(found: Plan, heading: Style = str) -> str:
    """The tables of a plan; lines can be wider than a report's."""
    several = [name for name in ("hw", "policy", "serving") if len({getattr(row, name) for row in found.rows}) > 1]
    names = several or ["hw", "policy"]
    alike = [f"{name} {getattr(found.rows[0], name)}" for name in ("hw", "policy", "serving") if name not in names]
    limits = ", ".join(f"{slo.key.replace('_', ' ')} <= {seconds(slo.limit_s)}" for slo in found.slos)
    title = f"{found.trace}, {plural(found.requests, 'request')}: {', '.join([found.model, *alike])}; {limits}"
    lines = [*wrapped(title, "  ", ""), ""]
    lines += [heading(f"goodput of one machine, {found.unit}/s, and the replays just under and just over it")]
    lines += [*_goodput(found, names), ""]
    own = " (the trace's own rate)" if found.rate_per_s == found.own_rate_per_s else ""
    lines += [heading(f"for {digits(found.rate_per_s)} {found.unit}/s{own}, as replayed with so many machines")]
    lines += [*_wanted(found, names), "", *wrapped(found.says)]
    best = next((row for row in found.rows if row.best), None)
    if best and best.bound:
        lines += wrapped(f"{best.system} at this rate: {best.bound}")
    if found.sensitivity is not None:
        lines += ["", heading("what would change the answer"), *_changes(found)]
    lines += ["", heading("assumed")]
    for note in found.assumptions:
        lines += wrapped(note, "    ", "  - ")
    return "\n".join(line.rstrip() for line in lines)


def _goodput(found: Plan, names: Sequence[str]) -> Iterator[str]:
    keys = [slo.key for slo in found.slos]
    figures = [key.replace("_", " ") for key in keys]
    table = [["", *names, "goodput", *figures, "over", *figures]]
    for row in found.rows:
        under, over = (row.goodput.under, row.goodput.over) if row.goodput else (None, None)
        rate = "-" if row.problem else digits(row.goodput_per_s)
        if row.goodput and not over:
            rate = f">= {rate}"
        table.append(["", *_names(row, names), rate, *_cells(under, keys), _rate(over), *_cells(over, keys)])
    yield from aligned(table, len(names))
    for problem in dict.fromkeys(row.problem for row in found.rows if row.problem):
        who = " and ".join(str(row.system) for row in found.rows if row.problem == problem)
        yield from wrapped(f"{who} cannot run: {problem}", "    ", "  ")
    for row in found.rows:
        if not row.goodput:
            continue
        if not row.goodput.over:
            why = f"the limits hold as far as the trace can tell ({found.unit} begin for less than half of the run)"
            yield from wrapped(f"{row.system}: {why}", "    ", "  ")
        if not row.goodput.under:
            yield from wrapped(f"{row.system}: no rate that was tried keeps the limits", "    ", "  ")
        if row.goodput.also_held:
            rates = ", ".join(digits(rate) for rate in row.goodput.also_held)
            why = (
                f"the limits hold again at {rates} {found.unit}/s, though not at all rates below (a scheduling anomaly)"
            )
            yield from wrapped(f"{row.system}: {why}", "    ", "  ")


def _wanted(found: Plan, names: Sequence[str]) -> Iterator[str]:
    keys = [slo.key for slo in found.slos]
    figures = [key.replace("_", " ") for key in keys]
    table = [["", *names, "machines", "GPUs", "$/Mtok", "J/token", *figures, "tightest"]]
    for row in found.rows:
        if row.copies is None:
            cells = ["-" if row.problem else f"> {found.copies_most}", *["-"] * (len(keys) + 4)]
        else:
            at = row.figures or {}
            tight = max((at[slo.key] or 0.0) / slo.limit_s for slo in found.slos)
            costs = [digits(row.usd_per_mtok), digits(row.joules_per_token)]
            cells = [f"{row.copies:,}", f"{row.gpus:,}", *costs, *(seconds(at[key]) for key in keys), percent(tight)]
        table.append([("*" if row.best else ""), *_names(row, names), *cells])
    yield from aligned(table, len(names))


def _changes(found: Plan) -> Iterator[str]:
    changes = found.sensitivity or ()
    table = [["", "machine", "figure", "times", "then the best is"]]
    for change in changes:
        if change.factor is not None:
            then = "none: no system keeps the limits" if change.winner is None else str(change.winner)
            table.append(["", change.hw, change.figure, f"x{change.factor:.3g}", then])
    if len(table) > 1:
        yield from aligned(table, 2, last_left=True)
    for hw, better in dict.fromkeys((change.hw, change.better) for change in changes):
        stays = [c.figure for c in changes if (c.hw, c.better) == (hw, better) and c.factor is None]
        if stays:
            how = f"{'better' if better else 'worse'} by a factor of 2 and of 4"
            yield from wrapped(f"{hw} {how}, the answer stays: {', '.join(stays)}", "    ", "  ")


def _names(row: PlanRow, names: Sequence[str]) -> list[str]:
    return [str(getattr(row, name)) for name in names]


def _rate(point: Point | None) -> str:
    return digits(point.rate_per_s) if point else "-"


def _cells(point: Point | None, keys: Sequence[str]) -> list[str]:
    if point is None:
        return ["-"] * len(keys)
    return [_precise(point.figures[key]) for key in keys]


def _precise(value: float | None) -> str:
    """With a digit more than elsewhere: two figures that lie on both sides of a limit are close to it."""
    if value is None:
        return "never"
    return f"{value:,.3f} s" if value >= 1 else f"{value * 1e3:.2f} ms"
