"""LLMServingSim, JSON lines with nanoseconds and no token ids."""

from collections.abc import Iterator

from kvsim.traces.columns import ticks
from kvsim.traces.trace import Trace

KIND = "jsonl"
HOLDS = frozenset[str]()
UNITS_PER_S = 1_000_000_000


def lines(trace: Trace) -> Iterator[str]:
    columns = (trace.prompt_tokens.tolist(), trace.output_tokens.tolist(), ticks(trace, UNITS_PER_S).tolist())
    for prompt, output, arrival in zip(*columns, strict=True):
        yield f'{{"input_toks": {prompt}, "output_toks": {output}, "arrival_time_ns": {arrival}}}\n'
