"""BurstGPT, CSV with seconds: whole ones, as in its own files, where all arrivals are whole."""

from collections.abc import Iterator

from kvsim.traces.columns import rows
from kvsim.traces.trace import Trace

KIND = "csv"
HOLDS = frozenset[str]()
UNITS_PER_S = 0


def lines(trace: Trace) -> Iterator[str]:
    yield "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    whole = bool((trace.arrival_s % 1 == 0).all() and trace.arrival_s[-1] < 2**53)
    for arrival, prompt, output in rows(trace):
        yield f"{int(arrival) if whole else repr(arrival)},unknown,{prompt},{output},{prompt + output},API log\n"
