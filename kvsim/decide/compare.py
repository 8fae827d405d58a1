"""`kvsim.compare`: one trace on every machine under every policy. The Python twin of `kvsim compare`."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Unpack

from kvsim.decide.advice import advice
from kvsim.decide.parallel import cores, each
from kvsim.decide.pareto import front
from kvsim.decide.slo import figure_of
from kvsim.decide.study import Names, Options, Study, System, study
from kvsim.errors import UserError
from kvsim.replay import Report, run
from kvsim.traces.trace import Trace


@dataclass(frozen=True)
class Row:
    """What one system made of the trace, in SI units; all figures are None where `problem` says why it cannot run.

    Attributes:
        pareto: no other row is as good in cost, latency and memory and better in one of them.
        usd_per_mtok, joules_per_token: per output token, as in a run's report.
        peak_hbm_bytes, peak_dram_bytes: of one chip, weights included; memory_bytes: HBM of all chips.
        lane, busy: the busiest lane and its share of the time; work: what most of the GPU's time goes to.
        bound: the sentence of a run's report. expected_error: of its seconds, as a share.
        notes: what was assumed for this row and not for all.
    """

    hw: str
    policy: str
    serving: str
    problem: str | None = None
    pareto: bool = False
    usd_per_mtok: float | None = None
    joules_per_token: float | None = None
    ttft_p50_s: float | None = None
    ttft_p99_s: float | None = None
    tpot_p50_s: float | None = None
    tpot_p99_s: float | None = None
    e2e_p50_s: float | None = None
    e2e_p99_s: float | None = None
    latency_s: float | None = None
    output_tokens_per_s: float | None = None
    kv_bytes_per_token: float | None = None
    kv_capacity_tokens: int | None = None
    peak_hbm_bytes: int | None = None
    peak_dram_bytes: int | None = None
    memory_bytes: int | None = None
    injected: int | None = None
    completed: int | None = None
    rejected: int | None = None
    preemptions: int | None = None
    chips: int | None = None
    lane: str | None = None
    busy: float | None = None
    work: str | None = None
    bound: str | None = None
    expected_error: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def system(self) -> System:
        """Its names."""
        return System(self.hw, self.policy, self.serving)

    @property
    def served_all(self) -> bool:
        """Whether it ran and turned no request away: rows that did are held against each other."""
        return self.problem is None and not self.rejected and self.usd_per_mtok is not None


@dataclass(frozen=True)
class Comparison:
    """Rows in the order of the names given. `latency` names the figure that `latency_s` and the front stand for."""

    trace: str
    requests: int
    model: str
    latency: str
    rows: tuple[Row, ...]
    says: str
    assumptions: tuple[str, ...]
    wall_s: float

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        return asdict(self)


COLUMNS = tuple(field.name for field in fields(Row) if field.name != "notes")


def compare(
    trace: str | Path | Trace,
    *,
    hw: Names = None,
    policy: Names = None,
    serving: Names = None,
    model: str | None = None,
    latency: str = "e2e_p99",
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Unpack[Options],
) -> Comparison:
    """Replay a trace on each machine, under each policy, with each serving preset.

    Args:
        hw, policy, serving: names, or a text of names separated by commas (`kvsim.decide.names.listed` has the rule).
        latency: the figure that stands for latency on the Pareto front: ttft, tpot, e2e or queue, then mean, p50, p90,
            p95 or p99, such as "ttft_p99".
        workers: processes, default one a core.
        progress: called with the runs that are done, and with all of them.
        options: of `kvsim.run`.

    Raises:
        UserError: anything that a user can mend, also if it keeps every single combination from running.
    """
    begun = time.perf_counter()
    figure_of(latency)
    processes = cores(workers)
    what = study(trace, hw, policy, serving, model, options)
    rows = [Row("", "", "")] * len(what.systems)
    results = each(lambda system: _row(what, system, latency), what.systems, processes)
    for done, (number, row) in enumerate(results, 1):
        rows[number] = row
        if progress:
            progress(done, len(rows))
    problems = {row.problem for row in rows}
    if len(problems) == 1 and (problem := rows[0].problem):
        raise UserError(problem)
    first = next((row.notes for row in rows if not row.problem), ())
    shared = [note for note in first if all(note in row.notes for row in rows if not row.problem)]
    rows = [replace(row, notes=tuple(note for note in row.notes if note not in shared)) for row in rows]
    marked = tuple(_marked(rows))
    says = advice(marked, latency)
    wall_s = time.perf_counter() - begun
    return Comparison(what.trace.name, len(what.trace), what.model, latency, marked, says, tuple(shared), wall_s)


def _row(what: Study, system: System, latency: str) -> Row:
    names: dict[str, Any] = {"hw": system.hw, "policy": system.policy, "serving": system.serving}
    try:
        report = run(what.trace, model=what.model, **names, **what.options)
    except UserError as error:
        return Row(**names, problem=str(error))
    return Row(**names, **_figures(report, latency))


def _figures(report: Report, latency: str) -> dict[str, Any]:
    found = report.figures
    lane = max((name for name in found["busy"] if name != "nvlink"), key=lambda name: float(found["busy"][name]))
    key, rank = figure_of(latency)
    same = (
        "usd_per_mtok", "joules_per_token", "output_tokens_per_s", "kv_bytes_per_token", "kv_capacity_tokens",
        "preemptions", "chips", "bound",
    )  # fmt: skip
    return {
        **{name: found[name] for name in same},
        **{f"{name}_{p}_s": found[f"{name}_s"][p] for name in ("ttft", "tpot", "e2e") for p in ("p50", "p99")},
        **{name: found["requests"][name] for name in ("injected", "completed", "rejected")},
        "latency_s": found[key][rank],
        "peak_hbm_bytes": found["peak_bytes"]["hbm"],
        "peak_dram_bytes": found["peak_bytes"]["dram"],
        "memory_bytes": found["peak_bytes"]["hbm"] * found["chips"],
        "lane": lane,
        "busy": found["busy"][lane],
        "expected_error": found["provenance"]["expected_error"],
        "work": next(iter(found["gpu_time"]), None) if lane == "gpu" else None,
        "notes": tuple(found["assumptions"]),
    }


def _marked(rows: list[Row]) -> list[Row]:
    able = [row for row in rows if row.served_all and row.latency_s is not None]
    points = [(row.usd_per_mtok or 0.0, row.latency_s or 0.0, float(row.memory_bytes or 0)) for row in able]
    best = {row.system for row, on_front in zip(able, front(points), strict=True) if on_front}
    return [replace(row, pareto=row.system in best) for row in rows]
