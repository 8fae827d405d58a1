"""By how much one figure of a machine would have to change for another system to be the best.

The answer to a plan is the system with the least cost (or energy, or GPUs) at the wanted rate, by replays with the
fewest copies that keep the limits. A changed figure is put into the machine, every system on that machine is planned
again by the same rules, and the others stay. So the named factor flips what `kvsim plan` would say, and half of it (on
a logarithmic scale) does not: both are replayed.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kvsim.decide.case import Case, begins_s, opened
from kvsim.decide.fleet import fleet, whole_search
from kvsim.decide.parallel import each
from kvsim.decide.perturb import FIGURES, perturbed
from kvsim.decide.slo import Slo
from kvsim.decide.study import Study, System

if TYPE_CHECKING:
    from kvsim.decide.plan import PlanRow

FARTHEST = 4.0
_FINE = 0.007  # of an exponent of FARTHEST: factors 1 % apart
_LEAST = 1e-4  # exponent below which two systems are as good as equal
Key = tuple[float, float, int]  # of a row: what the plan goes by, USD per million tokens, number


@dataclass(frozen=True)
class Change:
    """`hw`'s figure times `factor` makes `winner` the best (None: no system any more).

    Without a factor nothing up to four times, or a quarter, was found to: the range's end and its middle were tried.
    """

    hw: str
    figure: str
    better: bool
    factor: float | None
    winner: System | None


@dataclass(frozen=True)
class Decision:
    """A plan's question, and what its systems gave: `keys` of those that keep the limits."""

    cases: dict[int, Case]
    keys: dict[int, Key]
    slos: Sequence[Slo]
    factor: float
    most: int
    by: str

    @property
    def best(self) -> int:
        """The number of the best system."""
        return min(self.keys, key=lambda number: self.keys[number])

    def with_change(self, hw: str, figure: str, by: float) -> int | None:
        """The best system's number when this figure of a machine is multiplied; None if none keeps the limits.

        Raises:
            RuntimeError: never for figures in FIGURES.
        """
        best = min((key for number, key in self.keys.items() if self.cases[number].system.hw != hw), default=None)
        own = [number for number in self.cases if self.cases[number].system.hw == hw]
        for number in sorted(own, key=lambda number: self.keys.get(number, (math.inf, math.inf, number))):
            case = self.cases[number]
            case = replace(case, machine=perturbed(case.machine, figure, by))
            found = self._key(number, case, best)
            if found and (best is None or found < best):
                best = found
        return best[2] if best else None

    def _key(self, number: int, case: Case, rival: Key | None) -> Key | None:
        """The key of a changed system; None if it keeps no limit, or only with more copies than could beat `rival`."""
        most = self.most
        if rival is not None:
            each_s = begins_s(case.trace) / self.factor  # a run lasts as long as its requests begin, or longer
            tokens = float(case.trace.output_tokens.sum())
            chip, chips = case.machine.chip, case.machine.chips
            least = {
                "usd_per_mtok": case.machine.price_usd_per_h * chips * each_s / 3600 * 1e6 / tokens,
                "joules_per_token": chip.idle_power * chips * each_s / tokens,
                "gpus": float(chips),
            }[self.by]
            if least > 0:
                most = min(most, whole_search(math.floor(rival[0] / least * (1 + 1e-9))))
        if most < 1:
            return None
        needed = fleet(case, self.factor, self.slos, most)
        if needed is None:
            return None
        usd = needed.figures["usd_per_mtok"]
        value = {"gpus": float(needed.copies * case.machine.chips)}.get(self.by)
        return (needed.figures[self.by] if value is None else value, usd, number)


def decision(
    study: Study, slos: Sequence[Slo], factor: float, most: int, rows: "Sequence[PlanRow]", by: str
) -> Decision:
    """The decision that `rows` of a plan stand for."""
    cases = {n: opened(study, system)[0] for n, system in enumerate(study.systems) if not rows[n].problem}
    keys = {n: (float(getattr(rows[n], by)), float(rows[n].usd_per_mtok or 0), n) for n in cases if rows[n].copies}
    return Decision(cases, keys, slos, factor, most, by)


def sensitivity(made: Decision, workers: int, progress: Callable[[int, int], None] | None = None) -> tuple[Change, ...]:
    """The smallest change of each figure, of the best system's machine and of its nearest rival's, that flips it."""
    tasks = _tasks(made)
    found: dict[int, Change] = {}
    for number, change in each(lambda task: smallest(made, *task), tasks, workers):
        found[number] = change
        if progress:
            progress(len(found), len(tasks))
    return tuple(found[number] for number in range(len(tasks)))


def _tasks(made: Decision) -> list[tuple[str, str, bool]]:
    """(machine, figure, whether it gets better): the winner's for worse, and for better where that can help others on
    it; the nearest rival's on another machine for better."""
    ranked = sorted(made.keys.values())
    hardware = {number: case.system.hw for number, case in made.cases.items()}
    mine = hardware[ranked[0][2]]
    rival = next((hardware[key[2]] for key in ranked if hardware[key[2]] != mine), None)
    asked = [(mine, False)]
    if list(hardware.values()).count(mine) > 1:
        asked.append((mine, True))
    if rival:
        asked.append((rival, True))
    alone = {hw: all(case.tp == 1 for case in made.cases.values() if case.system.hw == hw) for hw, _ in asked}
    return [
        (hw, figure, better)
        for hw, better in asked
        for figure in FIGURES
        if not (figure == "peer link bandwidth" and alone[hw])
        and not (figure == "power" and made.by != "joules_per_token")
    ]


def smallest(made: Decision, hw: str, figure: str, better: bool) -> Change:
    """The factor nearest to 1 that was found to flip the decision while half of it does not."""
    up = FIGURES[figure] == better
    seen: dict[float, int | None] = {0.0: made.best}

    def factor(way: float) -> float:
        return float(FARTHEST ** (way if up else -way))

    def flips(way: float) -> bool:
        if way not in seen:
            seen[way] = made.with_change(hw, figure, factor(way))
        return seen[way] != made.best

    end = next((end for end in (1.0, 0.5) if flips(end)), None)
    if end is None:
        return Change(hw, figure, better, None, None)
    way = least(flips, end)
    winner = seen[way]
    return Change(hw, figure, better, factor(way), None if winner is None else made.cases[winner].system)


def least(flips: Callable[[float], bool], end: float) -> float:
    """A number up to `end`, which flips, that flips while its half does not."""
    while end > _LEAST and flips(end / 2):
        end /= 2
    low, high = end / 2, end
    while high - low > _FINE:
        middle = (low + high) / 2
        low, high = (low, middle) if flips(middle) else (middle, high)
    return high if high <= _LEAST or not flips(high / 2) else least(flips, high / 2)
