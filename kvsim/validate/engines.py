"""Engines that others measured, predicted with their presets and nothing fitted: `workloads/engines/*.yaml`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from kvsim import find
from kvsim.decide.parallel import cores, each
from kvsim.errors import UserError, unknown
from kvsim.replay import run
from kvsim.specs.load import Spec, load
from kvsim.traces.generate import generate
from kvsim.traces.workload import Generate

FOLDER = "workloads/engines"
LATENCIES = ("ttft_s", "e2e_s")
STATISTICS = ("mean", "p50", "p90", "p99")


class EngineRun(Spec):
    """One run of an engine. `warm`: the pool's prompts were in the cache when it began; `folder`: where it lies at the
    source. `measured`: latencies by name and statistic, as clients saw them."""

    name: str
    folder: str = ""
    hw: str
    model: str
    tp: int | None = None
    warm: bool = False
    generate: Generate
    measured: dict[str, dict[str, float]]

    @property
    def rate_per_s(self) -> float:
        """Requests a second."""
        arrivals = self.generate.arrivals
        return float(arrivals.rate_per_s or 0) if arrivals else 0.0


class EngineRuns(Spec):
    """Runs of one engine, from one source."""

    about: str
    engine: str
    source: str
    serving: str
    set: dict[str, str | int | float | bool] = Field(default={})
    runs: list[EngineRun]


@dataclass(frozen=True)
class EngineCheck:
    """One run, measured and predicted; `tpot_s`: (e2e - ttft) / (output - 1), of the means."""

    engine: str
    run: EngineRun
    predicted: dict[str, dict[str, float]]
    without_reuse: dict[str, dict[str, float]]
    tpot_s: tuple[float, float]
    rates: str

    def error(self, latency: str, statistic: str) -> float | None:
        """predicted / measured - 1, where it was measured."""
        measured = self.run.measured.get(latency, {}).get(statistic)
        return None if measured is None else self.predicted[latency][statistic] / measured - 1

    @property
    def tpot_error(self) -> float:
        """Of the time per output token, which is what a step takes."""
        return self.tpot_s[1] / self.tpot_s[0] - 1


def engine_checks(name: str | None = None, hw: str | None = None) -> Iterator[EngineCheck]:
    """Every published run, or those of one file and of one machine's systems.

    Raises:
        UserError: no such file.
    """
    known = find.names(FOLDER)
    if name is not None and name not in known:
        raise unknown("engine", name, known)
    tasks = []
    for file in known if name is None else [name]:
        runs = load(EngineRuns, find.ROOT / FOLDER / f"{file}.yaml")
        tasks += [(runs, one) for one in runs.runs if hw is None or one.hw == hw or one.hw.startswith(f"{hw}x")]
    found = dict(each(lambda task: check(*task), tasks, cores()))
    yield from (found[number] for number in range(len(tasks)))


def check(runs: EngineRuns, one: EngineRun) -> EngineCheck:
    """Predict one run, with the reuse of prefixes and without.

    Raises:
        UserError: a latency or statistic that `run --json` does not have.
    """
    for latency, statistics in one.measured.items():
        if latency not in LATENCIES or not set(statistics) <= set(STATISTICS):
            raise UserError(f"{one.name}: measured: has {', '.join(LATENCIES)} of {', '.join(STATISTICS)}")
    found = _predicted(runs, one, True)
    predicted = {name: found[name] for name in LATENCIES}
    apart = _predicted(runs, one, False)
    assert one.generate.output is not None and one.generate.output.tokens
    tokens = one.generate.output.tokens - 1
    both = (one.measured, predicted)
    tpot_s = tuple((pair["e2e_s"]["mean"] - pair["ttft_s"]["mean"]) / tokens for pair in both)
    without = {name: apart[name] for name in LATENCIES}
    return EngineCheck(runs.engine, one, predicted, without, tpot_s, found["provenance"]["rates"])  # type: ignore[arg-type]


def _predicted(runs: EngineRuns, one: EngineRun, reuse: bool) -> dict[str, Any]:
    trace = generate(one.generate, name=one.name)
    pool = one.generate.pool
    warmup_s = pool.prompts / one.rate_per_s if one.warm and pool and one.rate_per_s else 0.0
    report = run(
        trace,
        hw=one.hw,
        model=one.model,
        serving=runs.serving,
        settings={**runs.set, "prefix_caching": reuse},
        tp=one.tp,
        warmup_s=warmup_s,
    )
    return report.figures
