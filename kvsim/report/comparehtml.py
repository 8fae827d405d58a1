"""A comparison's page, report.html of `compare --out DIR`: what to take first, then the systems, one by one."""

from collections.abc import Iterator, Mapping
from typing import Any

from kvsim.decide.compare import Comparison, Row
from kvsim.report.axis import Axis, linear, tight
from kvsim.report.charts import Point, point_chart
from kvsim.report.html import origin_section
from kvsim.report.labels import LANES
from kvsim.report.markup import Html
from kvsim.report.page import answer, bullets, entry, figure, page, paragraph, section, table
from kvsim.report.words import amount, count, digits, percent, plural, seconds

_LOOKS = 6
_WIDE = 8  # times between least and most from which costs are drawn on a logarithmic axis


def compare_page(found: Comparison, provenance: Mapping[str, Any]) -> str:
    """The page of a comparison.

    Args:
        provenance: with the command, and the hashes of what was read.
    """
    title = f"{found.trace}: {plural(len(found.rows), 'system')} held against each other"
    about = f"{plural(found.requests, 'request')}, {found.model}"
    sections = [answer(title, about, found.says, [], list(_cards(found)))]
    numbers = {row.system: str(number) for number, row in enumerate(found.rows, 1)}
    drawn = [row for row in found.rows if row.latency_s is not None and row.usd_per_mtok is not None]
    if drawn:
        sections.append(section("front", "Cost against latency", _front(found, drawn, numbers)))
    sections.append(section("systems", "The systems", *_systems(found)))
    if notes := [*found.assumptions, *_own(found)]:
        sections.append(section("assumed", "What was assumed", bullets(notes)))
    sections.append(origin_section(provenance))
    return page(title, *sections, foot=f"Made by kvsim {provenance['kvsim']}. All figures are of simulations.")


def _cards(found: Comparison) -> Iterator[tuple[str, str, str]]:
    able = [row for row in found.rows if row.served_all and row.latency_s is not None]
    if not able:
        return
    cheap = min(able, key=lambda row: row.usd_per_mtok or 0.0)
    fast = min(able, key=lambda row: row.latency_s or 0.0)
    lean = min(able, key=lambda row: row.memory_bytes or 0)
    yield "cheapest, per million output tokens", f"${digits(cheap.usd_per_mtok)}", str(cheap.system)
    yield f"fastest, {found.latency.replace('_', ' ')}", seconds(fast.latency_s), str(fast.system)
    yield "least HBM, all chips", amount(lean.memory_bytes), str(lean.system)
    ran = sum(row.problem is None for row in found.rows)
    yield "serve every request", f"{len(able)} of {len(found.rows)}", f"{ran} can run at all"


def _front(found: Comparison, rows: list[Row], numbers: Mapping[Any, str]) -> Html:
    machines = list(dict.fromkeys(row.hw for row in rows))
    points = [
        Point(numbers[row.system], row.usd_per_mtok or 0.0, row.latency_s or 0.0, _look(machines, row.hw), row.pareto)
        for row in rows
    ]
    late = [point.y for point in points]
    what, best = found.latency.replace("_", " "), [row for row in rows if row.pareto]
    says = f"{len(best)} of {plural(len(rows), 'system')} on the Pareto front of cost, latency and memory"
    about = "; ".join(
        f"{numbers[row.system]}: {row.system}, ${digits(row.usd_per_mtok)}, {seconds(row.latency_s)}" for row in rows
    )
    y = tight(max(min(late), 1e-6), max(*late, 1e-6), seconds)
    chart = point_chart("front-chart", "Cost and latency of each system", f"{about}.", points, _costs(points), y)
    legend = [entry(name, _look(machines, name), True) for name in machines]
    return figure("front-figure", says, chart, legend, "$ per million output tokens", f"{what}; filled: on the front")


def _costs(points: list[Point]) -> Axis:
    costs = [point.x for point in points]
    if min(costs) > 0 and max(costs) > _WIDE * min(costs):
        return tight(min(costs), max(costs), lambda value: f"${value:,.4g}")
    return linear(1.1 * max(costs), lambda value: f"${value:,.4g}")


def _look(machines: list[str], hw: str) -> int:
    return machines.index(hw) % _LOOKS + 1


def _systems(found: Comparison) -> Iterator[Html]:
    figures = ("$/Mtok", "TTFT p99", "TPOT p99", "tokens/s", "tokens fit", "HBM", "done", "busiest lane")
    rows = [
        (f"{number}: {row.system}", "yes" if row.pareto else "no", *_cells(row))
        for number, row in enumerate(found.rows, 1)
    ]
    header = ("system", "on the front", *figures)
    yield table("rows", "All systems; HBM is that of one chip", header, rows, {0: "text"})
    for problem in dict.fromkeys(row.problem for row in found.rows if row.problem):
        who = " and ".join(str(row.system) for row in found.rows if row.problem == problem)
        yield paragraph(f"{who} cannot run: {problem}")
    for row in found.rows:
        if row.rejected:
            yield paragraph(f"{row.system} turns {plural(row.rejected, 'request')} away, and so is not on the front.")
    front = [(number, row) for number, row in enumerate(found.rows, 1) if row.pareto]
    if front:
        yield paragraph("What bounds those on the front:")
        yield bullets(f"{number}: {row.system}. {row.bound}" for number, row in front)


def _cells(row: Row) -> list[str]:
    if row.problem:
        return ["-"] * 7 + ["cannot run"]
    done = "all" if row.completed == row.injected else f"{row.completed:,} of {row.injected:,}"
    return [
        digits(row.usd_per_mtok),
        *(seconds(value) for value in (row.ttft_p99_s, row.tpot_p99_s)),
        digits(row.output_tokens_per_s),
        count(row.kv_capacity_tokens),
        amount(row.peak_hbm_bytes),
        done,
        f"{LANES[row.lane or 'gpu']} {percent(row.busy)}",
    ]


def _own(found: Comparison) -> Iterator[str]:
    """Notes that hold for some systems only, with what these have in common."""
    for note in dict.fromkeys(note for row in found.rows for note in row.notes):
        rows = [row for row in found.rows if note in row.notes]
        for name in ("hw", "policy", "serving"):
            whose = list(dict.fromkeys(getattr(row, name) for row in rows))
            if len(rows) == sum(getattr(row, name) in whose and not row.problem for row in found.rows):
                break
        else:
            whose = [str(row.system) for row in rows]
        yield f"{', '.join(whose)}: {note}"
