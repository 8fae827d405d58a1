"""Results of `vllm bench serve --save-detailed`, a JSON object: arrivals, lengths and measured latencies.

With --append-result a file has one on each line. Versions that do not save `start_times` leave lengths only.
"""

from collections.abc import Iterator

from kvsim.traces import bench
from kvsim.traces.source import Head, Source
from kvsim.traces.trace import Chunk

STRICT = False


def sniff(head: Head) -> bool:
    return {"num_prompts", "total_input_tokens", "completed"} <= set(head.keys) and "input_throughput" not in head.keys


def read(source: Source) -> Iterator[Chunk]:
    return bench.chunks(source, "run `vllm bench serve` with --save-result --save-detailed")
