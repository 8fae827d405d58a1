"""Mooncake, JSON lines with milliseconds and block hashes; the size of blocks is not in the file."""

import json
from collections.abc import Iterator

from kvsim.traces.blocks import one_by_one
from kvsim.traces.columns import lists, ticks
from kvsim.traces.trace import Trace

KIND = "jsonl"
HOLDS = frozenset({"blocks"})
NEEDS = frozenset({"blocks"})
UNITS_PER_S = 1000


def lines(trace: Trace) -> Iterator[str]:
    assert trace.blocks
    blocks = one_by_one(trace.blocks)
    columns = (ticks(trace, UNITS_PER_S).tolist(), trace.prompt_tokens.tolist(), trace.output_tokens.tolist())
    for arrival, prompt, output, ids in zip(*columns, lists(blocks.ids, blocks.start), strict=True):
        row = {"timestamp": arrival, "input_length": prompt, "output_length": output, "hash_ids": ids}
        yield json.dumps(row) + "\n"
