"""One system of a plan, ready to be replayed at any rate, with any number of copies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kvsim.decide.slo import Slo
from kvsim.decide.study import Study, System
from kvsim.decide.watch import Missed, Watch
from kvsim.engine.serving import Serving
from kvsim.engine.simulate import Simulation, simulate
from kvsim.errors import UserError
from kvsim.replay import Report, run
from kvsim.specs.hardware import Machine
from kvsim.specs.model import Model
from kvsim.traces.scale import scale
from kvsim.traces.trace import Trace
from kvsim.traits.policy import Policy


@dataclass(frozen=True)
class Case:
    """What a replay needs. `trace` is as a run prepares it, at its own rate; `tp` chips make one replica."""

    system: System
    names: Mapping[str, str]
    trace: Trace
    machine: Machine
    model: Model
    policy: Policy
    serving: Serving
    tp: int
    closed: bool


def opened(study: Study, system: System) -> tuple[Case, Report]:
    """The case of a system, and the run of one copy at the trace's own rate that it was taken from.

    Raises:
        UserError: the system cannot run.
    """
    names: dict[str, Any] = {"hw": system.hw, "policy": system.policy, "serving": system.serving}
    report = run(study.trace, model=study.model, **names, **{**study.options, "replicas": 1})
    ran = report.simulation
    layout = ran.layout
    case = Case(
        system, report.names, ran.trace, ran.machine, layout.geo.model, layout.policy, ran.serving, layout.geo.tp,
        ran.closed,
    )  # fmt: skip
    return case, report


def replay(case: Case, factor: float, copies: int, slos: Sequence[Slo] = ()) -> Simulation | None:
    """A run of `copies` machines at `factor` times the trace's rate.

    None: it was given up because one of `slos` is missed for certain, or the cache has no room.
    """
    try:
        return simulate(
            scale(case.trace, rate=factor),
            case.machine,
            case.model,
            case.policy,
            case.serving,
            tp=case.tp,
            replicas=copies * (case.machine.chips // case.tp),
            closed=case.closed,
            observers=(Watch(slos),) if slos else (),
        )
    except (Missed, UserError):
        return None


def unit(trace: Trace) -> str:
    """What a rate counts: the sessions of a trace that has them, else its requests."""
    return "requests" if trace.sessions is None else "sessions"


def begins_s(trace: Trace) -> float:
    """Seconds during which requests, or sessions, begin."""
    if trace.sessions is None:
        return float(trace.arrival_s[-1] - trace.arrival_s[0])
    first = np.unique(trace.sessions.id, return_index=True)[1]
    begin_s = trace.arrival_s[first]
    return float(begin_s.max() - begin_s.min())


def rate_per_s(trace: Trace) -> float:
    """Requests, or sessions, a second.

    Raises:
        UserError: they all begin at once.
    """
    span_s = begins_s(trace)
    if not span_s > 0:
        raise UserError(f"{trace.name}: all {unit(trace)} begin at once: it has no rate that could be varied")
    return (len(trace) if trace.sessions is None else len(np.unique(trace.sessions.id))) / span_s


def lasted_s(ran: Simulation) -> float:
    """Seconds from the first arrival to the last token."""
    return float(np.nanmax(ran.columns.done_s, initial=0.0) - np.nanmin(ran.columns.arrival_s))
