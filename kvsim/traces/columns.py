"""A trace's columns as Python's own numbers, some thousand rows at a time: what writers go through."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from kvsim.traces.trace import Ints, Trace

ROWS = 10_000


def rows(trace: Trace) -> Iterator[tuple[float, int, int]]:
    """(arrival in s, prompt tokens, output tokens) of each request."""
    for at in range(0, len(trace), ROWS):
        part = slice(at, at + ROWS)
        columns = (trace.arrival_s[part], trace.prompt_tokens[part], trace.output_tokens[part])
        yield from zip(*(column.tolist() for column in columns), strict=True)


def lists(values: Ints, start: Ints) -> Iterator[list[int]]:
    """The values of each request."""
    for first, end in pairwise(start.tolist()):
        yield values[first:end].tolist()


def ticks(trace: Trace, units_per_s: int) -> Ints:
    """Arrivals in the nearest whole units of a clock."""
    counted: Ints = np.rint(trace.arrival_s * units_per_s).astype(np.int64)
    return counted
