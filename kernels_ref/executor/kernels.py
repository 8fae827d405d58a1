"""`python -m kernels_ref.executor.kernels --out FILE.csv`: the kernels of some steps, by name, count and GPU seconds.

By torch's profiler, of one run of each step after three others: what a policy's cache adds to a layer, and what each
kernel takes behind those that a step has before it. `gpu_s` is the step's, without the profiler.
"""

import argparse
import csv
import gc
import sys
from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

import kvsim.find as find
from kernels_ref.executor.rows import origin
from kernels_ref.executor.stepgrid import BLOCKS, Case
from kernels_ref.executor.steps import Bench
from kernels_ref.executor.torch_executor import Options, decoder_of
from kernels_ref.executor.warmup import step_of
from kvsim.engine.serving import Serving

LONG, SHORT, MIXED = ((1500, 6000),), ((1950, 0),), ((1480, 500),)
STEPS = {
    "full": (
        ((), SHORT), ((), LONG), ((), ((200, 0),)), (((6, 2600, 2525),), ((430, 0),)), ((), ((480, 0),) * 4),
        (((24, 5200, 5125),), MIXED), (((24, 6100, 6025),), ()),
        (((7, 300, 200), (9, 1700, 1600), (4, 5200, 5100)), ()), (((11, 2900, 2825),), ()),
    ),
    "fp8": ((((24, 6100, 6025),), ()), (((45, 1900, 1825),), ()), ((), LONG)),
    "streaming": (((), SHORT), ((), ((3900, 0),)), ((), LONG)),
    "snapkv": (((), SHORT), ((), ((3900, 0),)), ((), LONG)),
    "h2o": ((((24, 6100, 6025),), ()), (((90, 900, 825),), ()), ((), SHORT), ((), LONG)),
    "kivi": (
        (((11, 2900, 2825),), ()), (((150, 1500, 1425),), ()), (((11, 2944, 2825),), ()), ((), SHORT), ((), LONG),
        (((24, 5200, 5125),), MIXED),
    ),
    "headinfer": (((), ((1700, 0),)), ((), ((1930, 14000),)), (((4, 9000, 8925),), ())),
}  # fmt: skip
COLUMNS = ("model", "policy", "decodes", "chunks", "gpu_s", "kernel", "count", "seconds")


def cases(model: str) -> list[Case]:
    """All steps, policy by policy."""
    return [
        Case(model, text, decodes, chunks, BLOCKS.get(text, 16))
        for text, steps in STEPS.items()
        for decodes, chunks in steps
    ]


def kernels(bench: Bench, case: Case) -> Iterator[tuple[float, str, int, float]]:
    """(seconds of the step, kernel, count, seconds) of one step."""
    runner = bench.runner
    step = step_of(case.decodes, case.chunks, bench.cache)
    batch = bench.cache.prepare(step, bench.words, runner.padded(len(step.decoding), len(step.chunks)))  # type: ignore[arg-type]
    batch.frozen = runner.gpu and not bench.cache.graphed
    took_s = [runner.run(batch).gpu_s for _ in range(3)][-1]
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        runner.run(batch)
    sums: dict[str, list[float]] = defaultdict(list)
    for event in found.events():
        if event.device_type == torch.autograd.DeviceType.CUDA:
            sums[event.name].append(event.self_device_time_total * 1e-6)
    runner.forget(batch)
    bench.cache.clear()
    for name, each in sorted(sums.items(), key=lambda item: -sum(item[1])):
        yield took_s, name, len(each), sum(each)


def main() -> int:
    """Parses the arguments, measures, writes. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m kernels_ref.executor.kernels", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="the file")
    parser.add_argument("--model", default="llama-3-8b")
    arguments = parser.parse_args()
    gc.disable()
    options, spec = Options(), find.model(arguments.model)
    where = origin(options.device)
    with torch.inference_mode(), arguments.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow((*COLUMNS, *where))
        decoder = decoder_of(spec, 24_000, options)
        for text, group in groupby(cases(arguments.model), lambda case: case.policy):
            mine = list(group)
            bench = Bench(spec, text, decoder, mine, Serving())
            for case in mine:
                shape = [case.columns()[name] for name in ("model", "policy", "decodes", "chunks")]
                for took_s, name, count, seconds in kernels(bench, case):
                    writer.writerow((*shape, f"{took_s:.6g}", name, count, f"{seconds:.6g}", *where.values()))
            del bench
            gc.collect()
            torch.cuda.empty_cache()
    return 0


if __name__ == "__main__":
    sys.exit(main())
