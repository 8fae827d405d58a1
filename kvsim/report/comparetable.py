"""A comparison as text: one line a system, what is common to all of them said once."""

from collections.abc import Callable, Iterator

from kvsim.decide.compare import Comparison, Row
from kvsim.report.labels import LANES
from kvsim.report.table import wrapped
from kvsim.report.words import amount, count, digits, percent, plural, seconds

Style = Callable[[str], str]
_WORK = {
    "weights": "weights", "cache": "cache reads", "arithmetic": "arithmetic", "dequantizing": "dequantizing",
    "passes": "passes", "latency": "launches", "collectives": "all-reduces",
}  # fmt: skip


def render(found: Comparison, heading: Style = str) -> str:
    """The table of a comparison. Lines can be wider than a report's: a row is one line, whatever it holds."""
    rows = found.rows
    several = [name for name in ("hw", "policy", "serving") if len({getattr(row, name) for row in rows}) > 1]
    several = several or ["hw", "policy"]
    alike = [f"{name} {getattr(rows[0], name)}" for name in ("hw", "policy", "serving") if name not in several]
    title = f"{found.trace}, {plural(found.requests, 'request')}: {', '.join([found.model, *alike])}"
    figure = found.latency.replace("_", " ")
    lines = [*wrapped(title, "  ", ""), ""]
    lines += _table(rows, several, heading)
    lines += [
        "",
        *wrapped(
            f"* on the Pareto front of $/Mtok, {figure} and HBM: no row is as good in all three and better in one"
        ),
    ]
    for problem in dict.fromkeys(row.problem for row in rows if row.problem):
        who = " and ".join(str(row.system) for row in rows if row.problem == problem)
        lines += wrapped(f"{who} cannot run: {problem}", "    ", "  ")
    for row in rows:
        if row.rejected:
            lines += wrapped(
                f"{row.system} turns {plural(row.rejected, 'request')} away: not on the front", "    ", "  "
            )
    lines += ["", *wrapped(found.says)]
    if found.assumptions:
        lines += ["", heading("assumed"), *_notes(found)]
    return "\n".join(line.rstrip() for line in lines)


def _table(rows: tuple[Row, ...], names: list[str], heading: Style) -> Iterator[str]:
    head = ["", *names, "$/Mtok", "ttft p50", "p99", "tpot p50", "p99", "tok/s", "fits", "HBM", "done", "busy", "with"]
    body = [[("*" if row.pareto else ""), *(getattr(row, name) for name in names), *_cells(row)] for row in rows]
    yield from aligned([head, *body], len(names), heading, last_left=True)


def aligned(table: list[list[str]], names: int, heading: Style = str, last_left: bool = False) -> Iterator[str]:
    """Lines of a table whose first row is its head: a mark and `names` columns to the left, figures to the right."""
    widths = [max(len(line[at]) for line in table) for at in range(len(table[0]))]
    left = {*range(1 + names), *([len(widths) - 1] if last_left else [])}
    for number, line in enumerate(table):
        cells = zip(range(len(line)), line, widths, strict=True)
        text = "  ".join(f"{cell:<{w}}" if at in left else f"{cell:>{w}}" for at, cell, w in cells).rstrip()
        yield text if number else heading(text)


def _cells(row: Row) -> list[str]:
    if row.problem:
        return ["-"] * 10 + ["cannot run"]
    done = "all" if row.completed == row.injected else f"{row.completed:,} of {row.injected:,}"
    work = _WORK[row.work] if row.work else LANES[row.lane or "gpu"]
    return [
        digits(row.usd_per_mtok),
        *(seconds(value) for value in (row.ttft_p50_s, row.ttft_p99_s, row.tpot_p50_s, row.tpot_p99_s)),
        digits(row.output_tokens_per_s),
        count(row.kv_capacity_tokens),
        amount(row.peak_hbm_bytes),
        done,
        percent(row.busy),
        work,
    ]


def _notes(found: Comparison) -> Iterator[str]:
    for note in found.assumptions:
        yield from wrapped(note, "    ", "  - ")
    own = {note: [row for row in found.rows if note in row.notes] for row in found.rows for note in row.notes}
    for note, rows in own.items():
        names = sorted({row.hw for row in rows})
        whose = ", ".join(names if {row.hw for row in found.rows} - {*names} else sorted({row.policy for row in rows}))
        yield from wrapped(f"{whose}: {note}", "    ", "  - ")
