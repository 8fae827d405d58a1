"""Vidur, CSV with seconds."""

from collections.abc import Iterator

from kvsim.traces.columns import rows
from kvsim.traces.trace import Trace

KIND = "csv"
HOLDS = frozenset[str]()
UNITS_PER_S = 0


def lines(trace: Trace) -> Iterator[str]:
    yield "arrived_at,num_prefill_tokens,num_decode_tokens\n"
    for arrival, prompt, output in rows(trace):
        yield f"{arrival!r},{prompt},{output}\n"
