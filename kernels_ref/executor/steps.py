"""`python -m kernels_ref.executor.steps --out DIR`: times whole steps on the GPU at hand, as the executor runs them.

A grid of prefill, decode and mixed steps over models and policies, at batches and contexts of its own. A row a step is
written as soon as it is measured: `steps.csv`. Seconds are GPU seconds between events, the median of a series of runs
back to back, taken twice (`noise`: relative difference); `wall_s` is one run alone until its tokens are on the host.
"""

import argparse
import csv
import gc
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import torch

import kvsim.find as find
from kernels_ref.executor.batch import Batch
from kernels_ref.executor.decoder import Decoder
from kernels_ref.executor.hosted import Hosted
from kernels_ref.executor.hostlink import h2d_bytes_per_s
from kernels_ref.executor.interpreted import INTERPRETED, repair
from kernels_ref.executor.policies import Room, cache_of
from kernels_ref.executor.rows import COLUMNS, Csv, origin
from kernels_ref.executor.runner import SHORT_TOKENS, Runner
from kernels_ref.executor.stepgrid import Case, grid, tiny_grid
from kernels_ref.executor.torch_executor import Options, decoder_of
from kernels_ref.executor.warmup import step_of, words
from kvsim.engine.serving import Serving
from kvsim.specs.model import Model
from kvsim.traits.layout import Layout
from kvsim.traits.policy import policy

COMPILE_S = 45.0
SERIES_S = 0.25  # about how long a series runs, but for three runs at least
HOST_BYTES = 40e9  # of pinned memory
SPARE_BYTES = 20e9  # of the GPU's memory, for activations, graphs and fragments


def predicted_kv_bytes(case: Case, layout: Layout) -> int:
    """What the cost side sets aside for the case's sequences in the cache's home tier."""
    total = sum(
        n * int(layout.columns(prompt, _one(context))[layout.home_row, 0]) for n, context, prompt in case.decodes
    )
    return total + sum(int(layout.prefill_allocated(_one(new + past))[-1, 0]) for new, past in case.chunks)


def _one(value: int):  # type: ignore[no-untyped-def]
    import numpy as np

    return np.array([value], np.int64)


class Bench:
    """One model under one policy, ready to run cases."""

    def __init__(self, model: Model, text: str, decoder: Decoder, cases: list[Case], serving: Serving) -> None:
        self.layout = Layout(policy(text), model, 1, cases[0].block)
        pages = max(-(-predicted_kv_bytes(case, self.layout) // self.layout.block_bytes) for case in cases) + 8
        if self.layout.offloaded:  # torch rounds pinned memory up to a power of two
            pages = 1 << (pages - 9).bit_length()
        most = max(sum(n for n, _, _ in case.decodes) + len(case.chunks) for case in cases)
        longest = max(case.longest for case in cases)
        exact = tuple(sorted({-(-case.longest_decode // 128) * 128 for case in cases if case.decodes}))
        self.cache = cache_of(self.layout, decoder, Room(pages, most + 8, longest, exact))
        self.cache.randomize()
        self.runner = Runner(decoder, self.cache, serving.graph_sizes)
        self.words = words(longest + 1, decoder.shape.vocab)

    def row(self, case: Case, times: int) -> dict[str, object]:
        """Measure one case."""
        gpu = self.runner.gpu
        before = torch.cuda.memory_allocated() if gpu else 0
        step = step_of(case.decodes, case.chunks, self.cache)
        padded = self.runner.padded(len(step.decoding), len(step.chunks))
        batch: Batch = self.cache.prepare(step, self.words, padded)  # type: ignore[arg-type]
        batch.frozen = gpu and not self.cache.graphed
        held = sum(self.cache.held_bytes(one) for one in self.cache.held.values())
        try:
            begun = time.perf_counter()
            first = self.runner.run(batch)
            setup_s = time.perf_counter() - begun - first.wall_s
            if not times:
                return {}
            if gpu:
                torch.cuda.reset_peak_memory_stats()
            alone = self.runner.run(batch)
            rough = alone.gpu_s
            many = max(3, min(times, int(SERIES_S / max(rough, 1e-4))))
            pair = [statistics.median(self.runner.series(batch, many)) for _ in range(2)]
            peak = torch.cuda.max_memory_allocated() if gpu else 0
            hosted = isinstance(self.cache, Hosted)
            link = h2d_bytes_per_s(self.cache.host, self.cache.device) if hosted else 0.0  # type: ignore[attr-defined]
        finally:
            self.runner.forget(batch)
            self.cache.clear()
        mean = sum(pair) / 2
        return {
            "tokens": batch.tokens,
            "padded": batch.padded,
            "width_tokens": batch.width * self.cache.page if case.decodes else 0,
            "graphed": int(alone.graphed),
            "seconds": f"{mean:.6g}",
            "noise": f"{abs(pair[0] - pair[1]) / mean:.4f}",
            "alone_s": f"{alone.gpu_s:.6g}",
            "wall_s": f"{alone.wall_s:.6g}",
            "h2d_bytes_per_s": f"{link:.4g}" if link else "",
            "first_s": f"{first.wall_s:.4g}",
            "setup_s": f"{setup_s:.4g}",
            "before_bytes": before,
            "peak_bytes": peak,
            "kv_bytes": held,
            "kv_predicted_bytes": predicted_kv_bytes(case, self.layout),
            "weight_bytes": self.runner.decoder.weights.nbytes,
        }


def benches(cases: list[Case]) -> Iterator[tuple[str, str, list[Case]]]:
    """Neighbours that share a model, a policy and a size of blocks."""
    for (model, text, _), found in groupby(cases, lambda case: (case.model, case.policy, case.block)):
        yield model, text, list(found)


def table_of(path: Path | None) -> list[dict[str, str]]:
    """The rows of a table of steps, but for short ones that an earlier version timed with the host's gaps."""
    if path is None:
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [row for row in rows if row["graphed"] == "1" or int(row["tokens"]) > SHORT_TOKENS]


def without(cases: list[Case], rows: list[dict[str, str]]) -> list[Case]:
    """Cases that are not among these rows."""
    names = ("model", "policy", "decodes", "chunks")
    known = {tuple(row[name] for name in names) for row in rows}
    return [case for case in cases if tuple(case.columns()[name] for name in names) not in known]


def precompile(cases: list[Case], processes: int, out: Path, wait_s: float) -> None:
    """Triton's cache on disk is filled by processes that run the same steps with a single layer each."""
    groups = list(dict.fromkeys((case.model, case.policy) for case in cases))[:processes]
    running = []
    for number, (model, text) in enumerate(groups):
        command = [sys.executable, "-m", "kernels_ref.executor.steps", "--compile-only", "--models", model]
        command += ["--groups", f"{model},{text}", "--out", str(out / f"compile{number}")]
        log = (out / f"compile{number}.log").open("w")
        running.append(subprocess.Popen(command, stdout=log, stderr=log))
    deadline_s = time.perf_counter() + wait_s
    for process in running:
        try:
            process.wait(max(0.1, deadline_s - time.perf_counter()))
        except subprocess.TimeoutExpired:
            process.kill()


def measure(
    cases: list[Case], out: Path, budget_s: float, options: Options, times: int, have: Sequence[dict[str, str]] = ()
) -> list[dict[str, object]]:
    """Measure cases until the time is up; every row is on disk when the next begins."""
    begun, rows = time.perf_counter(), []
    decoder: Decoder | None = None
    name = ""
    out.mkdir(parents=True, exist_ok=True)
    with Csv(out / "steps.csv", COLUMNS, origin(options.device)) as table:
        for row in have:
            table.add(row)
        for model, text, mine in benches(cases):
            spec = find.model(model)
            if options.layers:
                spec = spec.model_copy(update={"layers": options.layers, "vocab": 1024})
            mine = [case for case in mine if fits(case, spec, options)]
            if not mine or time.perf_counter() - begun > budget_s:
                print(f"{model} {text}: {len(mine)} steps left out, the time is up", flush=True)
                continue
            bench = None
            _clear(options)
            try:
                if name != model:
                    decoder, name = None, ""
                    _clear(options)
                    longest = max(case.longest for case in cases if case.model == model)
                    decoder, name = decoder_of(spec, longest + 1, options), model
                assert decoder is not None
                bench = Bench(spec, text, decoder, mine, Serving())
            except Exception as failure:
                print(f"{model} {text}: {type(failure).__name__}: {failure}".split("\n")[0], flush=True)
                continue
            for case in mine:
                if time.perf_counter() - begun > budget_s:
                    print(f"{model} {text}: the time is up", flush=True)
                    break
                try:
                    row = case.columns() | bench.row(case, times) | {"clock_mhz": _clock(options)}
                except Exception as failure:
                    print(f"{case}: {type(failure).__name__}: {failure}".split("\n")[0][:300], flush=True)
                    bench.cache.held.clear()
                    if "out of memory" in str(failure):
                        _clear(options)
                    continue
                table.add(row)
                rows.append(row)
            del bench
    return rows


def fits(case: Case, model: Model, options: Options) -> bool:
    """Whether a case's cache leaves room for weights and work, and its contexts are ones the model was made for."""
    if not options.device.startswith("cuda"):
        return True
    layout = Layout(policy(case.policy), model, 1, case.block)
    if layout.offloaded:
        return predicted_kv_bytes(case, layout) < HOST_BYTES
    room = torch.cuda.get_device_properties(0).total_memory - model.weight_bytes - SPARE_BYTES
    return predicted_kv_bytes(case, layout) < room


def _clear(options: Options) -> None:
    gc.collect()
    if options.device.startswith("cuda"):
        torch.cuda.empty_cache()


def _clock(options: Options) -> int:
    """SM clock in MHz; 0 where it is not known."""
    try:
        return int(torch.cuda.clock_rate()) if options.device.startswith("cuda") else 0
    except Exception:
        return 0


def show(rows: list[dict[str, object]]) -> None:
    """A short table."""
    print(f"{'model':12} {'policy':14} {'decodes':24} {'chunks':16} {'ms':>9} {'noise':>6} {'wall ms':>9} graphed  kv")
    for row in rows:
        ms, wall = (float(str(row[key])) * 1e3 for key in ("seconds", "wall_s"))
        same = "=" if row["kv_bytes"] == row["kv_predicted_bytes"] else f"{row['kv_bytes']}/{row['kv_predicted_bytes']}"
        print(
            f"{row['model']:12} {row['policy']!s:14.14} {row['decodes']!s:24.24} {row['chunks']!s:16.16} {ms:9.3f} "
            f"{row['noise']:>6} {wall:9.2f} {row['graphed']:>7}  {same}"
        )


def main() -> int:
    """Parses the arguments, measures, prints the table. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m kernels_ref.executor.steps", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for steps.csv")
    parser.add_argument("--models", default="llama-3-8b,llama-2-7b,qwen2.5-7b")
    parser.add_argument("--policies", default="", help="comma-separated parts of policies' names (default: all)")
    parser.add_argument("--budget-s", type=float, default=150.0)
    parser.add_argument("--times", type=int, default=9, help="runs of a series")
    parser.add_argument("--have", type=Path, help="a steps.csv whose rows are kept, not measured again")
    parser.add_argument("--precompile", type=int, default=0, metavar="N", help="first compile in up to N processes")
    parser.add_argument("--groups", default="", help="only these: model,policy;model,policy")
    parser.add_argument("--compile-only", action="store_true", help="run every step once, with a single layer")
    parser.add_argument("--tiny", action="store_true", help="a tiny model on the CPU: to see that it runs")
    arguments, started = parser.parse_args(), time.perf_counter()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.tiny:
        repair()
        cases, options = tiny_grid(arguments.out), Options(device="cpu", fused=INTERPRETED)
    else:
        cases, options = grid(arguments.models.split(",")), Options()
    have = table_of(arguments.have)
    cases = without(cases, have)
    wanted = [word for word in arguments.policies.split(",") if word]
    cases = [case for case in cases if not wanted or any(word == case.policy.split(":")[0] for word in wanted)]
    if arguments.groups:
        groups = {tuple(group.split(",", 1)) for group in arguments.groups.split(";")}
        cases = [case for case in cases if (case.model, case.policy) in groups]
    if arguments.compile_only:
        options = replace(options, layers=1)
    if arguments.precompile:
        begun = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            precompile(cases, arguments.precompile, Path(folder), COMPILE_S)
        print(f"compiled in {time.perf_counter() - begun:.0f} s", flush=True)
    gc.disable()  # a collection would show in a step
    with torch.inference_mode():
        times = 2 if arguments.tiny else 0 if arguments.compile_only else arguments.times
        left_s = arguments.budget_s - (time.perf_counter() - started)
        rows = measure(cases, arguments.out, left_s, options, times, have)
    if not arguments.compile_only:
        show(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
