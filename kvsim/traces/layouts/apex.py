"""APEX+, JSON lines with nanoseconds."""

from collections.abc import Iterator

from kvsim.traces.columns import ticks
from kvsim.traces.trace import Trace

KIND = "jsonl"
HOLDS = frozenset[str]()
UNITS_PER_S = 1_000_000_000


def lines(trace: Trace) -> Iterator[str]:
    columns = (trace.prompt_tokens.tolist(), trace.output_tokens.tolist(), ticks(trace, UNITS_PER_S).tolist())
    for number, (prompt, output, arrival) in enumerate(zip(*columns, strict=True)):
        lengths = f'"ContextTokens": {prompt}, "GeneratedTokens": {output}, "TotalTokens": {prompt + output}'
        yield f'{{{lengths}, "RequestID": {number}, "StartTimeOffset": {arrival}}}\n'
