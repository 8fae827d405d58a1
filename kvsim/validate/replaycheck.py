"""Logged replays against the model: in lockstep (its error alone), and free-running (its error and what comes of it).

In lockstep the executed seconds drive the clock, so that every step has the batch that was executed, and the model's
seconds stand beside. Free-running the model's seconds drive it: late steps then make other batches.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvsim.engine.executor import ExecutedSpan, ExecutorFactory
from kvsim.engine.replica import Replica, Span
from kvsim.find import ROOT
from kvsim.replay import run
from kvsim.traits.placement import HBM, Resting
from kvsim.validate import lend
from kvsim.validate.replaylog import Floats, Logged, Replay, read_replay
from kvsim.validate.steplog import PACED_BY_HOST

FOLDER = ROOT / "hardware" / "calibration"
SLIGHTLY = 1.1  # faster, to see whether a latency depends on the rate
HALVINGS = 9  # of the span from half to twice the rate: within 0.3 %
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
        by_kind: (share of the executed seconds, error of their sum) of steps that only decode, of those with at most
            as many prompt tokens as the host is slower to launch than the GPU to run, and of those with more.
        same_preemptions: as logged, in order. same_times: requests end when the log says.
    """

    steps: int
    total_error: float
    by_kind: Mapping[str, tuple[float, float]]
    mean: float
    median: float
    p90: float
    worst: float
    worst_step: str
    same_preemptions: bool
    same_times: bool
    executed_s: Floats
    predicted_s: Floats
    reads_prompts: NDArray[np.bool_]


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
    rate: float | None  # of the executed one, at which the model has the executed mean latency; None: it does not queue
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


def checks(chip: str | None = None, root: Path = FOLDER, lender: str = "") -> list[ReplayCheck]:
    """Every committed log against the model; by another chip's curves (`kvsim.validate.lend`) if one is named."""
    return [check(read_replay(folder), lender) for folder in folders(chip, root)]


def check(replay: Replay, lender: str = "") -> ReplayCheck:
    """One log against the model, both ways."""
    beside = _Beside()
    executed = _again(replay, lender, lambda simulation, replica: Logged(replay), (beside,))
    predicted = _again(replay, lender, None, ())
    locked = _lockstep(replay, np.array(beside.predicted_s), executed)
    peak = replay.about.get("peak_bytes")
    both = (int(peak), _allocated(predicted)) if peak else None
    rate = equal_rate(replay, executed.figures["e2e_s"]["mean"], lender)
    return ReplayCheck(replay, locked, _free(executed, predicted), rate, both)


def equal_rate(replay: Replay, latency_s: float | None, lender: str = "") -> float | None:
    """How many times as fast the requests may come for the model to have this mean latency: the error of a capacity.

    Near saturation a small error of steps is a large one of latency, and a small one again of the rate that gives it.
    None where the latency hardly depends on the rate (by less than its square root), or is not met from 1/2 to 2 times.
    """

    def mean_s(rate: float) -> float:
        trace = replace(replay.trace, arrival_s=replay.trace.arrival_s / rate)
        found = _again(replace(replay, trace=trace), lender, None, ()).figures["e2e_s"]["mean"]
        return float(found or 0.0)

    if not latency_s or (low_s := mean_s(1.0)) <= 0 or mean_s(SLIGHTLY) < low_s * SLIGHTLY**0.5:
        return None
    low, high = 0.5, 2.0
    if not mean_s(low) < latency_s < mean_s(high):
        return None
    for _ in range(HALVINGS):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if mean_s(middle) < latency_s else (low, middle)
    return float((low * high) ** 0.5)


def _allocated(report: Any) -> int:
    """Bytes that a framework allocates for a run: weights, work, and all of the cache's room in HBM.

    Of a cache that rests elsewhere, as many buffers as its placement has, of a unit of all that it may hold.
    """
    run = report.simulation
    apart = run.serving.context_bytes + (run.serving.graph_bytes if run.serving.graph_tokens else 0)
    placement, pools = run.layout.policy.placement, run.capacity.pool_bytes
    whole = np.array([pools[placement.home]], np.int64)
    room = placement.rest(Resting(whole, 0 * whole, 0 * whole), run.layout.geo)[HBM]
    return int(run.capacity.resident_bytes - apart + np.asarray(room).item())


def _again(replay: Replay, lender: str, executor: ExecutorFactory | None, observers: tuple[Any, ...]) -> Any:
    arguments = dict(replay.arguments)
    machine = lend.machine(arguments["hw"], lender)
    return run(replay.trace, **arguments, machine=machine, loop="open", executor=executor, observers=observers)


def _lockstep(replay: Replay, predicted_s: Floats, executed: Any) -> Lockstep:
    executed_s = replay.steps["seconds"][: len(predicted_s)]
    error = predicted_s / executed_s - 1
    size, worst = np.abs(error), int(np.argmax(np.abs(error)))
    log = replay.steps
    decodes, new = int(log["decodes"][worst]), int(log["new_tokens"][worst])
    return Lockstep(
        steps=len(error),
        total_error=float(predicted_s.sum() / executed_s.sum() - 1),
        by_kind=_by_kind(executed_s, predicted_s, log["new_tokens"][: len(error)]),
        mean=float(size.mean()),
        median=float(np.median(size)),
        p90=float(np.percentile(size, 90)),
        worst=float(error[worst]),
        worst_step=f"step {worst + 1}: {decodes} decodes, {new} prompt tokens",
        same_preemptions=tuple(executed.simulation.replicas[0].scheduler.preempted) == replay.preempted,
        same_times=bool(np.allclose(executed.simulation.columns.done_s, replay.requests["done_s"], equal_nan=True)),
        executed_s=executed_s,
        predicted_s=predicted_s,
        reads_prompts=log["new_tokens"][: len(error)] > 0,
    )


def _by_kind(executed_s: Floats, predicted_s: Floats, new: NDArray[Any]) -> dict[str, tuple[float, float]]:
    found, short = {}, (new > 0) & (new <= PACED_BY_HOST)
    for name, these in (("decode", new == 0), ("short", short), ("prompts", new > PACED_BY_HOST)):
        took_s = float(executed_s[these].sum())
        if took_s:
            found[name] = (took_s / float(executed_s.sum()), float(predicted_s[these].sum()) / took_s - 1)
    return found


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
    """The rate at which the mean time to the first token is twice that of the lowest rate, executed and predicted."""

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
        latency = [one.free.figures["ttft_s mean"] for one in members]
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
