"""Engines that others measured, predicted with their presets and nothing fitted: `workloads/engines/*.yaml`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from kvsim import find
from kvsim.decide.parallel import cores, each
from kvsim.errors import UserError, unknown
from kvsim.onestep import step
from kvsim.replay import run, serving_preset
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
    """One run, measured and predicted; `tpot_s`: (e2e - ttft) / (output - 1), of the means.

    `step_s`: a mean step predicted at the batch that was measured, whose duration the measured tpot is.
    """

    engine: str
    run: EngineRun
    predicted: dict[str, dict[str, float]]
    without_reuse: dict[str, dict[str, float]]
    tpot_s: tuple[float, float]
    step_s: float
    rates: str

    def error(self, latency: str, statistic: str) -> float | None:
        """predicted / measured - 1, where it was measured."""
        measured = self.run.measured.get(latency, {}).get(statistic)
        return None if measured is None else self.predicted[latency][statistic] / measured - 1

    @property
    def tpot_error(self) -> float:
        """Of the time per output token: of a step, and of how many requests run."""
        return self.tpot_s[1] / self.tpot_s[0] - 1

    @property
    def step_error(self) -> float:
        """Of a step alone."""
        return self.step_s / self.tpot_s[0] - 1


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
    step_s = _step_s(runs, one, tpot_s[0])
    return EngineCheck(runs.engine, one, predicted, without, tpot_s, step_s, found["provenance"]["rates"])  # type: ignore[arg-type]


def _step_s(runs: EngineRuns, one: EngineRun, tpot_s: float) -> float:
    """A mean step of as many sequences as decoded at a time (Little's law), some of which read a prompt.

    Nearly all of a prompt's blocks are in the prefix cache: a step that admits it reads what its last block holds.
    """
    prompt = round(float(generate(one.generate, name=one.name).prompt_tokens.mean()))
    output = one.generate.output.tokens if one.generate.output else None
    assert output
    decoding_s = one.measured["e2e_s"]["mean"] - one.measured["ttft_s"]["mean"]
    block = serving_preset(runs.serving, runs.set).block_tokens
    past = (prompt - 1) // block * block
    common: dict[str, Any] = {
        "hw": one.hw,
        "model": one.model,
        "tp": one.tp or 0,
        "serving": ":".join([runs.serving, *(f"{key}={value}" for key, value in runs.set.items())]),
        "batch": max(1, round(one.rate_per_s * decoding_s)),
        "context": prompt + output // 2,
    }
    mixed = min(1.0, one.rate_per_s * tpot_s)
    kinds = (({"phase": "decode"}, 1 - mixed), ({"phase": "mixed", "chunk": prompt - past, "past": past}, mixed))
    return sum(share * float(step(**common, **kind).engine_seconds or 0) for kind, share in kinds)


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
