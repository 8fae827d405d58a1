"""Whole replays: wall seconds, microseconds an event, peak memory. `python benchmarks/replay.py [--million]`.

An event is a callback of the clock: an arrival, or the end of a span of steps. Ratios are to the first row.
"""

import argparse
import os
import resource
import time
from pathlib import Path

from kvsim.replay import run

SHARED = Path(os.environ.get("KVSIM_SHARED", Path(__file__).parents[2] / "shared")) / "traces"
AZURE = SHARED / "azure_llm_2023" / "AzureLLMInferenceTrace_code.csv"
MOONCAKE = SHARED / "mooncake_fast25" / "conversation_trace.jsonl.gz"


def timed(name: str, first: float | None, trace: object, **options: object) -> float:
    """Replay once, print a row, return the microseconds an event took."""
    begun = time.perf_counter()
    report = run(trace, **options)  # type: ignore[arg-type]
    seconds = time.perf_counter() - begun
    requests = report.figures["requests"]["completed"]
    events = requests + report.figures["events"]
    each = seconds / events * 1e6
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    ratio = each / (first or each)
    print(f"{name:40} {requests:>9,} {seconds:7.2f} s {each:6.1f} us/event {ratio:5.2f}x {memory:6.0f} MB")
    return each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--million", action="store_true", help="also a million requests (about 90 s)")
    million = parser.parse_args().million
    first = timed("poisson-1135-212, full", None, "poisson-1135-212")
    for policy in ("kivi", "snapkv", "headinfer", "h2o"):
        timed(f"poisson-1135-212, {policy}", first, "poisson-1135-212", policy=policy)
    if AZURE.exists():
        for policy in ("full", "headinfer", "kivi", "snapkv"):
            timed(f"azure code, h100, {policy}", first, AZURE, hw="h100", model="llama-3-8b", policy=policy)
        eight = {"model": "llama-3-8b", "replicas": 8}
        timed("mooncake conversation, 8 x h100", first, MOONCAKE, hw="h100", **eight)
        for tiers in ("dram", "dram+flash", "dram:bytes=64GB:writes=back+flash:writes=back"):
            name = f"... {tiers}"
            timed(name, first, MOONCAKE, hw="h100+2nvme", settings={"tiers": tiers}, **eight)
        shared = {"tiers": "dram:bytes=200GB:shared=true+flash:shared=true"}
        one_host = {"model": "llama-3-8b", "tp": 1}
        timed("... one host, shared dram+flash", first, MOONCAKE, hw="h100x8+2nvme", settings=shared, **one_host)
    else:
        print(f"the shared traces are not at {SHARED}: set KVSIM_SHARED")
    for count in (10_000, 100_000, 1_000_000) if million else (10_000, 100_000):
        timed(f"generated, {count:,}", first, _generated(count), hw="a100-80", model="llama-2-7b", settings=BUDGET)


BUDGET = {"max_num_batched_tokens": 512}


def _generated(count: int) -> object:
    from kvsim.traces.generate import generate
    from kvsim.traces.workload import Generate

    lengths = {"prompt": {"mean": 1135.0, "cv": 0.6, "max": 4000}, "output": {"mean": 212.0, "cv": 0.6, "max": 1000}}
    spec = Generate(requests=count, arrivals={"process": "poisson", "rate_per_s": 3.0}, **lengths)  # type: ignore[arg-type]
    return generate(spec, 0, "generated", Path())


if __name__ == "__main__":
    main()
