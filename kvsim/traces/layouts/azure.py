"""Azure's LLM inference traces, CSV: UTC dates to 100 ns. The first request arrives when 2024 begins."""

from collections.abc import Iterator

import numpy as np

from kvsim.traces.columns import ticks
from kvsim.traces.trace import Trace

KIND = "csv"
HOLDS = frozenset[str]()
UNITS_PER_S = 10_000_000
_BEGIN = np.datetime64("2024-01-01T00:00:00", "s")


def lines(trace: Trace) -> Iterator[str]:
    yield "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    seconds, fraction = np.divmod(ticks(trace, UNITS_PER_S), UNITS_PER_S)
    stamps = np.datetime_as_string(_BEGIN + seconds.astype("timedelta64[s]"))
    for stamp, part, prompt, output in zip(
        stamps.tolist(), fraction.tolist(), trace.prompt_tokens.tolist(), trace.output_tokens.tolist(), strict=True
    ):
        yield f"{stamp.replace('T', ' ')}.{part:07d},{prompt},{output}\n"
