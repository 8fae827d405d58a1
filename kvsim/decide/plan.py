"""`kvsim.plan`: which machine under which policy keeps the limits cheapest. The Python twin of `kvsim plan`."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Unpack

from kvsim.decide.case import opened, rate_per_s, unit
from kvsim.decide.fleet import explained, fleet, headroom
from kvsim.decide.goodput import Goodput, goodput
from kvsim.decide.parallel import cores, each
from kvsim.decide.sensitivity import Change, decision, sensitivity
from kvsim.decide.slo import Slo, slos
from kvsim.decide.study import Names, Options, Study, System, study
from kvsim.decide.watch import figures
from kvsim.errors import UserError, unknown
from kvsim.report.words import digits, percent, plural
from kvsim.traces.trace import Trace

_OF_ONE_MACHINE = re.compile(r"\d+ replicas? of ")
BY = ("usd_per_mtok", "joules_per_token", "gpus")


@dataclass(frozen=True)
class PlanRow:
    """One system. What depends on the wanted rate is None where `copies_most` copies do not keep the limits there.

    Attributes:
        goodput_per_s: the highest rate at which one machine keeps all limits; goodput says how it was found.
        copies, gpus: machines that keep them at the wanted rate, and their chips.
        figures: the limited figures of those copies at that rate, in seconds.
        headroom: share by which the rate can at least still grow, found by replays; None but for the best row.
    """

    hw: str
    policy: str
    serving: str
    problem: str | None = None
    goodput: Goodput | None = None
    goodput_per_s: float | None = None
    copies: int | None = None
    gpus: int | None = None
    usd_per_mtok: float | None = None
    joules_per_token: float | None = None
    figures: dict[str, float | None] | None = None
    headroom: float | None = None
    bound: str | None = None
    best: bool = False

    @property
    def system(self) -> System:
        """Its names."""
        return System(self.hw, self.policy, self.serving)


@dataclass(frozen=True)
class Plan:
    """Rows in the order of the names given. Rates count `unit`: requests, or sessions of a trace that has them."""

    trace: str
    requests: int
    model: str
    slos: tuple[Slo, ...]
    unit: str
    own_rate_per_s: float
    rate_per_s: float
    by: str
    copies_most: int
    rows: tuple[PlanRow, ...]
    says: str
    sensitivity: tuple[Change, ...] | None
    assumptions: tuple[str, ...]
    wall_s: float

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        return asdict(self)


def plan(
    trace: str | Path | Trace,
    *,
    slo: str,
    hw: Names = None,
    policy: Names = None,
    serving: Names = None,
    model: str | None = None,
    rate: float | None = None,
    by: str = "usd_per_mtok",
    copies_most: int = 64,
    sensitive: bool = False,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Unpack[Options],
) -> Plan:
    """Find the goodput of each system under `slo`, and what a wanted rate takes of each.

    Rates are varied by compressing the trace in time. Sessions begin more often; inside one time runs as before, and in
    a closed loop its turns wait for their answers.

    Args:
        slo: limits, such as "ttft_p99=2s,tpot_p99=50ms": ttft, tpot, e2e or queue; mean, p50, p90, p95 or p99. A
            rejected request counts as one that took forever.
        rate: requests (sessions) a second that must be served, default the trace's own.
        by: what makes a row the best: usd_per_mtok, joules_per_token or gpus; all at the wanted rate.
        copies_most: machines of one kind to try at most.
        sensitive: also find by how much a figure of the hardware would have to change for another row to be the best.
        workers: processes, default one a core.
        progress: called with the systems that are done, and with all of them; then so with the figures of `sensitive`.
        options: of `kvsim.run`.

    Raises:
        UserError: anything that a user can mend.
    """
    begun = time.perf_counter()
    limits, processes = slos(slo), cores(workers)
    if by not in BY:
        raise unknown("key", by, BY, "by")
    if copies_most < 1:
        raise UserError(f"replicas-max must be at least 1, but got {copies_most}")
    if rate is not None and not 0 < rate < float("inf"):
        raise UserError(f"rate must be more than 0 and finite, but got {rate}")
    for name in ("concurrency", "sessions_per_s"):
        if options.get(name) is not None:
            raise UserError(f"{name}: a plan varies the rate at which sessions begin; leave it out")
    what = study(trace, hw, policy, serving, model, options)
    own = rate_per_s(what.trace)
    wanted = own if rate is None else rate
    factor = wanted / own
    if not 1e-6 <= factor <= 1e6:
        raise UserError(f"rate must be within a million times the trace's own {own:.4g} a second, but got {rate}")
    rows = [PlanRow("", "", "")] * len(what.systems)
    said: list[tuple[str, ...]] = []
    results = each(lambda system: _row(what, system, limits, factor, copies_most), what.systems, processes)
    for done, (number, (row, assumed)) in enumerate(results, 1):
        rows[number] = row
        if not row.problem:
            said.append(assumed)
        if progress:
            progress(done, len(rows))
    problems = {row.problem for row in rows}
    if len(problems) == 1 and (problem := rows[0].problem):
        raise UserError(problem)
    best = best_of(rows, by)
    if best is not None:
        case, _ = opened(what, what.systems[best])
        room = headroom(case, factor, rows[best].copies or 1, limits)
        rows[best] = replace(rows[best], best=True, headroom=room)
    changes = None
    if sensitive and best is not None:
        changes = sensitivity(decision(what, limits, factor, copies_most, rows, by), processes, progress)
    notes = tuple(note for note in next(iter(said), ()) if all(note in others for others in said))
    says = _says(rows, best, unit(what.trace), wanted, by, copies_most)
    return Plan(
        what.trace.name, len(what.trace), what.model, limits, unit(what.trace), own, wanted, by, copies_most,
        tuple(rows), says, changes, notes, time.perf_counter() - begun,
    )  # fmt: skip


def best_of(rows: "Sequence[PlanRow]", by: str) -> int | None:
    """The row with the least of `by`; among equal ones the cheapest, then the first."""
    able = [number for number, row in enumerate(rows) if row.copies is not None]
    return min(able, key=lambda number: (getattr(rows[number], by), rows[number].usd_per_mtok, number), default=None)


def _row(
    what: Study, system: System, limits: Sequence[Slo], factor: float, most: int
) -> tuple[PlanRow, tuple[str, ...]]:
    names = PlanRow(system.hw, system.policy, system.serving)
    try:
        case, report = opened(what, system)
    except UserError as error:
        return replace(names, problem=str(error)), ()
    notes = tuple(note for note in report.figures["assumptions"] if not _OF_ONE_MACHINE.match(note))
    found = goodput(case, limits, report.simulation)
    row = replace(names, goodput=found, goodput_per_s=found.rate_per_s)
    needed = fleet(case, factor, limits, most)
    if needed is None:
        return row, notes
    row = replace(
        row,
        copies=needed.copies,
        gpus=needed.copies * case.machine.chips,
        usd_per_mtok=needed.figures["usd_per_mtok"],
        joules_per_token=needed.figures["joules_per_token"],
        figures=figures(needed.ran.columns, limits),
        bound=explained(case, needed, what.options["fidelity"]),
    )
    return row, notes


def _says(rows: Sequence[PlanRow], best: int | None, noun: str, wanted: float, by: str, most: int) -> str:
    rate = f"{digits(wanted)} {noun}/s"
    if best is None:
        return f"No system keeps the limits at {rate} with up to {plural(most, 'machine')}."
    row = rows[best]
    what = {
        "usd_per_mtok": "is the cheapest",
        "joules_per_token": "takes the least energy",
        "gpus": "takes the fewest GPUs",
    }
    said = f"{row.copies} x {row.system} {what[by]} for {rate}: ${digits(row.usd_per_mtok)} per million output tokens, "
    said += f"{digits(row.joules_per_token)} J a token, {plural(row.gpus or 0, 'GPU')}"
    if row.headroom is not None:
        said += f"; the rate can grow by {percent(row.headroom)}" if row.headroom else "; there is no room for 5 % more"
    others = [other for number, other in enumerate(rows) if number != best and other.copies is not None]
    if others:
        second = others[best_of(others, by) or 0]
        ratio = getattr(second, by) / getattr(row, by) if getattr(row, by) else 1.0
        more = f"{percent(ratio - 1)} more" if ratio >= 1.0005 else "the same"
        said += f"; next is {second.copies} x {second.system} at {more}"
    return said + "."
