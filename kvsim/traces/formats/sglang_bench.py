"""Results of SGLang's `bench_serving --output-details`, JSON lines with an object a run: lengths, measured latencies.

They do not say when requests were sent, so that they serve generators (`lengths_from`) only, unless `start_times` do.
"""

from collections.abc import Iterator

from kvsim.traces import bench
from kvsim.traces.source import Head, Source
from kvsim.traces.trace import Chunk

STRICT = False


def sniff(head: Head) -> bool:
    return {"total_input_tokens", "input_throughput"} <= set(head.keys)


def read(source: Source) -> Iterator[Chunk]:
    return bench.chunks(source, "run `python -m sglang.bench_serving` with --output-details")
