"""Where requests' time went: each one's life in parts that add up to its end-to-end latency."""

from dataclasses import dataclass

import numpy as np

from kvsim.engine.simulate import Simulation
from kvsim.report.away import Away

PARTS = ("before the queue", "in the queue", "prefill", "decode", "preempted", "read again")


@dataclass(frozen=True)
class Life:
    """A completed request: its number in the trace from 1 on, and the seconds of each of PARTS.

    "preempted" is from each preemption until it runs again, "read again" from there to its next token; both are left
    out of prefill (to the first token) and decode (after it).
    """

    number: int
    prompt_tokens: int
    output_tokens: int
    preemptions: int
    parts_s: tuple[float, ...]

    @property
    def e2e_s(self) -> float:
        """From arrival to the last token."""
        return sum(self.parts_s)


def by_rank(run: Simulation, away: Away, shares: tuple[float, ...]) -> list[Life]:
    """The requests at the given ranks of end-to-end latency: 0.99 is the one that 99 % are no slower than."""
    order = _order(run)
    return [life(run, away, int(order[max(0, int(np.ceil(share * len(order))) - 1)])) for share in shares if len(order)]


def slowest(run: Simulation, away: Away, most: int = 10) -> list[Life]:
    """The slowest completed requests, slowest first."""
    return [life(run, away, int(index)) for index in _order(run)[::-1][:most]]


def life(run: Simulation, away: Away, index: int) -> Life:
    """The life of a completed request, `index` from 0 on."""
    columns = run.columns
    arrival_s, scheduled_s, first_s, done_s = (
        float(times[index]) for times in (columns.arrival_s, columns.scheduled_s, columns.first_token_s, columns.done_s)
    )
    waited_s, reread_s = away.waited(index), away.reread(index)
    api_s = min(run.serving.api_s, scheduled_s - arrival_s)
    early_s = away.waited(index, before_s=first_s)
    parts_s = (
        api_s,
        scheduled_s - arrival_s - api_s,
        first_s - scheduled_s - early_s,
        done_s - first_s - (waited_s - early_s) - reread_s,
        waited_s,
        reread_s,
    )
    prompt, output = int(columns.prompt_tokens[index]), int(columns.output_tokens[index])
    return Life(index + 1, prompt, output, int(columns.preemptions[index]), tuple(map(_clean, parts_s)))


def _clean(part_s: float) -> float:
    """A difference of times without its rounding: nothing here is shorter than a nanosecond."""
    return part_s if abs(part_s) > 1e-9 else 0.0


def _order(run: Simulation) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Completed requests by end-to-end latency, ties by their place in the trace."""
    done = np.flatnonzero(np.isfinite(run.columns.done_s))
    e2e_s = (run.columns.done_s - run.columns.arrival_s)[done]
    return done[np.argsort(e2e_s, kind="stable")]
