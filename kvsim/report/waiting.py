"""What kept requests waiting: how full the cache and the batch were while they did, from the columns of a run."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kvsim.engine.simulate import Simulation

Floats = NDArray[np.float64]
_NEAR = 0.95  # of the limit: the next request would not fit any more


@dataclass(frozen=True)
class Waiting:
    """Shares of all time spent in the queue, 0 to 1, during which the cache had no room or the batch no seat."""

    room: float
    seats: float


def waiting(run: Simulation, capacity_tokens: int) -> Waiting:
    """Look at each request in the middle of its wait, all replicas together, weighted by how long it waited.

    A running request counts with its prompt and half of its output (all of it where admission reserves it).

    Args:
        capacity_tokens: tokens of context that one replica holds.
    """
    columns, serving = run.columns, run.serving
    ran = np.isfinite(columns.scheduled_s)
    if not ran.any():
        return Waiting(0.0, 0.0)
    start_s, end_s = columns.scheduled_s[ran], columns.done_s[ran]
    came_s = columns.arrival_s[ran] + serving.api_s
    output = columns.output_tokens[ran]
    prompt = columns.prompt_tokens[ran]
    held: Floats = prompt + output * (1.0 if serving.admission == "reserve_output" else 0.5) - columns.hit_tokens[ran]
    waits_s = np.maximum(start_s - came_s, 0.0)
    middle_s = came_s + waits_s / 2
    end_s = np.where(np.isfinite(end_s), end_s, np.inf)
    tokens = _running(start_s, end_s, held, middle_s)
    seqs = _running(start_s, end_s, np.ones(len(held)), middle_s)
    many = len(run.replicas)
    no_room = tokens + prompt > _NEAR * capacity_tokens * many
    no_seat = seqs >= _NEAR * serving.max_num_seqs * many
    total_s = max(float(waits_s.sum()), 1e-300)
    return Waiting(float(waits_s[no_room].sum()) / total_s, float(waits_s[no_seat].sum()) / total_s)


def _running(start_s: Floats, end_s: Floats, held: Floats, at_s: Floats) -> Floats:
    """What requests that run at each of `at_s` hold together."""
    total = np.zeros(len(at_s))
    for times, sign in ((start_s, 1.0), (end_s, -1.0)):
        order = np.argsort(times)
        sums = np.concatenate([[0.0], np.cumsum(held[order])])
        total += sign * sums[np.searchsorted(times[order], at_s, side="right")]
    return total
