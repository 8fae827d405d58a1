"""What a run leaves behind: a column a figure over requests, and counters over replicas."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass
class Columns:
    """Per request of the trace; NaN where it never came to that. Times are seconds since the first arrival."""

    arrival_s: Floats
    prompt_tokens: Ints
    output_tokens: Ints
    scheduled_s: Floats
    first_token_s: Floats
    done_s: Floats
    hit_tokens: Ints
    preemptions: Ints
    replica: Ints
    rejected: NDArray[np.bool_]

    @classmethod
    def empty(cls, arrival_s: Floats, prompt: Ints, output: Ints) -> "Columns":
        """Columns of requests that have not been seen yet."""
        count = len(arrival_s)
        scheduled_s, first_token_s, done_s = (np.full(count, np.nan) for _ in range(3))
        hit_tokens, preemptions = (np.zeros(count, np.int64) for _ in range(2))
        replica, rejected = np.full(count, -1, np.int64), np.zeros(count, np.bool_)
        times = (scheduled_s, first_token_s, done_s)
        return cls(arrival_s, prompt, output, *times, hit_tokens, preemptions, replica, rejected)


@dataclass
class Counters:
    """Of one replica; seconds of its lanes, bytes of one of its chips."""

    events: int = 0
    steps: int = 0
    gpu_s: float = 0.0
    gpu_steps_s: list[float] = field(default_factory=list)  # not added up yet
    sequences: int = 0  # summed over steps
    fetched_bytes: int = 0
    returned_bytes: int = 0
    beside: list[int] = field(default_factory=list)  # decode steps, their sequences and tokens, of attention elsewhere
    swapped_in_bytes: int = 0
    swapped_out_bytes: int = 0
    tokens: int = 0  # through the layers, prompts and outputs
    max_running: int = 0
    prompt_tokens: int = 0  # of admitted prompts, once each
    hit_tokens: int = 0
    end_s: float = 0.0

    def add_up(self) -> None:
        """Add the steps' GPU seconds one by one, so that the sum does not depend on how steps were grouped."""
        self.gpu_s = float(np.add.accumulate(np.array([self.gpu_s, *self.gpu_steps_s]))[-1])
        self.gpu_steps_s.clear()
