"""Logged replays against the model: in lockstep (its error alone), and free-running (its error and what comes of it).

In lockstep the executed seconds drive the clock, so that every step has the batch that was executed, and the model's
seconds stand beside. Free-running the model's seconds drive it: late steps then make other batches.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kvsim.engine.executor import ExecutedSpan, ExecutorFactory
from kvsim.engine.replica import Replica, Span
from kvsim.find import ROOT
from kvsim.replay import run
from kvsim.validate.replaylog import Floats, Logged, Replay, read_replay

FOLDER = ROOT / "hardware" / "calibration"
# figure of `run --json` -> its statistics
COMPARED: dict[str, tuple[str, ...]] = {
    "ttft_s": ("mean", "p50", "p99"),
    "tpot_s": ("mean", "p99"),
    "e2e_s": ("mean", "p99"),
    "output_tokens_per_s": (),
}


@dataclass(frozen=True)
class Lockstep:
    """Steps as executed: the model's error on each, and on their sum.

    Attributes:
        same_preemptions: as logged, in order. same_times: requests end when the log says.
    """

    steps: int
    total_error: float
    mean: float
    median: float
    p90: float
    worst: float
    worst_step: str
    same_preemptions: bool
    same_times: bool
    executed_s: Floats
    predicted_s: Floats


@dataclass(frozen=True)
class Free:
    """The run that the model would have made: (executed, predicted) by figure, and the share of preempted requests
    that both runs preempted."""

    figures: Mapping[str, tuple[float, float]]
    preempted: tuple[int, int]
    overlap: float | None


@dataclass(frozen=True)
class ReplayCheck:
    """One logged replay, both ways."""

    replay: Replay
    lockstep: Lockstep
    free: Free
    peak_bytes: tuple[int, int] | None  # of one chip's memory: allocated by the framework, predicted; None: not logged


class _Beside:
    """An observer that keeps what the model said of each executed step."""

    def __init__(self) -> None:
        self.predicted_s: list[float] = []

    def __call__(self, replica: Replica, span: Span) -> None:
        assert isinstance(span, ExecutedSpan)
        self.predicted_s.append(span.predicted_s)


def folders(chip: str | None = None, root: Path = FOLDER) -> list[Path]:
    """Folders of committed logs, of one chip or of all."""
    return sorted(path.parent for path in root.glob(f"{chip or '*'}/replays/*/run.json"))


def checks(chip: str | None = None, root: Path = FOLDER) -> list[ReplayCheck]:
    """Every committed log against the model."""
    return [check(read_replay(folder)) for folder in folders(chip, root)]


def check(replay: Replay) -> ReplayCheck:
    """One log against the model, both ways."""
    beside = _Beside()
    executed = _again(replay, lambda simulation, replica: Logged(replay), (beside,))
    predicted = _again(replay, None, ())
    locked = _lockstep(replay, np.array(beside.predicted_s), executed)
    peak = replay.about.get("peak_bytes")
    both = (int(peak), _allocated(predicted)) if peak else None
    return ReplayCheck(replay, locked, _free(executed, predicted), both)


def _allocated(report: Any) -> int:
    """Bytes that a framework allocates for a run: weights, work, and all of the cache's room in HBM."""
    run = report.simulation
    apart = run.serving.context_bytes + (run.serving.graph_bytes if run.serving.graph_tokens else 0)
    return int(run.capacity.resident_bytes - apart + run.capacity.pool_bytes["hbm"])


def _again(replay: Replay, executor: ExecutorFactory | None, observers: tuple[Any, ...]) -> Any:
    return run(replay.trace, **dict(replay.arguments), loop="open", executor=executor, observers=observers)


def _lockstep(replay: Replay, predicted_s: Floats, executed: Any) -> Lockstep:
    executed_s = replay.steps["seconds"][: len(predicted_s)]
    error = predicted_s / executed_s - 1
    size, worst = np.abs(error), int(np.argmax(np.abs(error)))
    log = replay.steps
    decodes, new = int(log["decodes"][worst]), int(log["new_tokens"][worst])
    return Lockstep(
        steps=len(error),
        total_error=float(predicted_s.sum() / executed_s.sum() - 1),
        mean=float(size.mean()),
        median=float(np.median(size)),
        p90=float(np.percentile(size, 90)),
        worst=float(error[worst]),
        worst_step=f"step {worst + 1}: {decodes} decodes, {new} prompt tokens",
        same_preemptions=tuple(executed.simulation.replicas[0].scheduler.preempted) == replay.preempted,
        same_times=bool(np.allclose(executed.simulation.columns.done_s, replay.requests["done_s"], equal_nan=True)),
        executed_s=executed_s,
        predicted_s=predicted_s,
    )


def _free(executed: Any, predicted: Any) -> Free:
    pairs = {}
    for name, statistics in COMPARED.items():
        for key in statistics or ("",):
            one, other = ((r.figures[name][key] if key else r.figures[name]) for r in (executed, predicted))
            if one is not None and other is not None:
                pairs[f"{name} {key}".strip()] = (float(one), float(other))
    ours, theirs = (list(r.simulation.replicas[0].scheduler.preempted) for r in (executed, predicted))
    return Free(pairs, (len(ours), len(theirs)), overlap(ours, theirs))


def overlap(executed: Sequence[int], predicted: Sequence[int]) -> float | None:
    """Preemptions that both runs have, over those of the run with more; None where neither has any."""
    both = sum((Counter(executed) & Counter(predicted)).values())
    most = max(len(executed), len(predicted))
    return both / most if most else None


@dataclass(frozen=True)
class Knee:
    """The rate at which the mean latency is twice that of the lowest rate, executed and predicted; None: none is."""

    family: str
    rates: tuple[float, ...]
    executed: float | None
    predicted: float | None


def knees(found: Sequence[ReplayCheck]) -> list[Knee]:
    """Families of three or more replays that differ in their rate alone (`about.family`, `about.rate_per_s`)."""
    families: dict[tuple[str, str], list[ReplayCheck]] = {}
    for one in found:
        if "family" in one.replay.about:
            families.setdefault((one.replay.chip, one.replay.about["family"]), []).append(one)
    knee = []
    for (chip, name), members in families.items():
        if len(members) < 3:
            continue
        members.sort(key=lambda one: one.replay.about["rate_per_s"])
        rates = [float(one.replay.about["rate_per_s"]) for one in members]
        latency = [one.free.figures["e2e_s mean"] for one in members]
        executed, predicted = (doubling(rates, [pair[i] for pair in latency]) for i in (0, 1))
        knee.append(Knee(f"{chip}/{name}", tuple(rates), executed, predicted))
    return knee


def doubling(rates: Sequence[float], latency_s: Sequence[float]) -> float | None:
    """Where a latency over rising rates is twice its first value: straight lines between logarithms."""
    for (low, before), (high, after) in zip(
        zip(rates, latency_s, strict=True), zip(rates[1:], latency_s[1:], strict=True), strict=False
    ):
        target = 2 * latency_s[0]
        if before < target <= after:
            share = np.log(target / before) / np.log(after / before)
            return float(np.exp(np.log(low) + share * np.log(high / low)))
    return None
