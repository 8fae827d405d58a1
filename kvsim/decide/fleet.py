"""How many copies of a machine a wanted rate takes, confirmed by replays with that many."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kvsim.decide.case import Case, replay
from kvsim.decide.goodput import edge
from kvsim.decide.slo import Slo
from kvsim.decide.watch import figures, holds
from kvsim.engine.simulate import Simulation
from kvsim.report.bound import bound
from kvsim.report.summary import summarize

HEADROOMS = (0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
_EACH = 8  # up to so many copies every number is tried, from one on


@dataclass(frozen=True)
class Fleet:
    """The fewest copies that keep all limits at a rate, and the figures of their replay."""

    copies: int
    ran: Simulation
    figures: dict[str, Any]


def fleet(case: Case, factor: float, slos: Sequence[Slo], most: int) -> Fleet | None:
    """The fewest copies that keep all limits at `factor` times the trace's rate; None if more than `most`.

    Up to eight every number is tried, so that an anomaly cannot hide a smaller one. Above, doubling and bisection find
    a number that holds while the next smaller one does not.
    """
    tried: dict[int, Simulation | None] = {}

    def held(copies: int) -> bool:
        if copies not in tried:
            ran = replay(case, factor, copies, slos)
            tried[copies] = ran if ran and holds(figures(ran.columns, slos), slos) else None
        return tried[copies] is not None

    copies = next((n for n in range(1, min(_EACH, most) + 1) if held(n)), None)
    few = _EACH
    while copies is None and few < most:
        many = min(2 * few, most)
        if held(many):
            copies = -edge(lambda n: held(-n), -many, -few)
        few = many
    if copies is None or not (ran := tried[copies]):
        return None
    return Fleet(copies, ran, summarize(ran))


def whole_search(most: int) -> int:
    """A limit on copies, of at least `most`, up to which `fleet` goes the same way as without a limit."""
    if most <= _EACH:
        return most
    limit = _EACH
    while limit < most:
        limit *= 2
    return limit


def headroom(case: Case, factor: float, copies: int, slos: Sequence[Slo]) -> float:
    """The largest of HEADROOMS by which the rate can still grow: 0.2 is a fifth more."""

    def held(at: int) -> bool:
        ran = replay(case, factor * (1 + HEADROOMS[at]), copies, slos)
        return ran is not None and holds(figures(ran.columns, slos), slos)

    return HEADROOMS[edge(held, 0, len(HEADROOMS))]


def explained(case: Case, found: Fleet, fidelity: str) -> str:
    """What bounds the fleet at its rate, in the words of a run's report."""
    return bound(found.ran, found.figures, case.names, fidelity).sentence
