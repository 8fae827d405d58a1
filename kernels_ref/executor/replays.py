"""`python -m kernels_ref.executor.replays --out DIR`: whole replays on the GPU at hand, timed by the steps it runs.

Each goes to a folder of its own, in the layout of `kvsim.validate.replaylog`, from which it can be simulated again; its
steps also say whether a graph ran them, in how many rows, whether the host paced them, and what it took. While a
replay runs, its steps so far are in `steps.partial.csv`. Simulated time between requests costs nothing.
"""

import argparse
import csv
import gc
import gzip
import io
import sys
import tarfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import kvsim.find as find
from kernels_ref.executor.decoder import Decoder
from kernels_ref.executor.hosted import Hosted
from kernels_ref.executor.hostlink import h2d_bytes_per_s
from kernels_ref.executor.interpreted import INTERPRETED, repair
from kernels_ref.executor.replaygrid import REPLAYS, TINY, Replay
from kernels_ref.executor.rows import Csv, origin
from kernels_ref.executor.runner import Ran
from kernels_ref.executor.stepgrid import TINY as TINY_MODEL
from kernels_ref.executor.torch_executor import Options, TorchExecutor, decoder_of
from kvsim.engine.executor import ExecutedSpan, Step
from kvsim.engine.replica import Replica, Span
from kvsim.engine.simulate import Simulation
from kvsim.replay import Report, run
from kvsim.validate.replaylog import STEP_COLUMNS, STEPS, Recorder, write_replay

MORE_COLUMNS = ("rows", "graphed", "paced", "wall_s", "predicted_s")


class TimeIsUp(RuntimeError):
    """The replay took longer than it may."""


class Log:
    """What a replay's steps took: `note` after each on the device, `span` after each in the engine."""

    def __init__(self, path: Path, deadline_s: float) -> None:
        self._deadline_s, self._ran = deadline_s, Ran([], 0.0, 0.0, False)
        self._rows = 0
        self.more: list[tuple[Any, ...]] = []
        self.partial = Csv(path, ("number", "seconds", "decodes", "new_tokens", *MORE_COLUMNS), {})

    def note(self, step: Step, ran: Ran) -> None:
        """After a step was run. Raises TimeIsUp."""
        self._ran = ran
        self._rows = len(step.decoding) + sum(seq.chunk for seq in step.chunks)
        if time.perf_counter() > self._deadline_s:
            raise TimeIsUp("the time is up")

    def span(self, replica: Replica, span: Span) -> None:
        """Keep its figures beside what the recorder keeps."""
        assert isinstance(span, ExecutedSpan)
        ran, step = self._ran, span.step
        row = (self._rows, int(ran.graphed), int(ran.paced), f"{ran.wall_s:.6g}", f"{span.predicted_s:.6g}")
        self.more.append(row)
        new = sum(seq.chunk for seq in step.chunks)
        known = {"number": step.number, "seconds": f"{span.executed.seconds:.6g}", "decodes": len(step.decoding)}
        self.partial.add({**known, "new_tokens": new, **dict(zip(MORE_COLUMNS, row, strict=True))})


def execute(
    replay: Replay, out: Path, names: dict[str, Any], options: Options, folder: Path | None, deadline_s: float
) -> dict[str, object]:
    """Run one replay and write its log; the row of the table that is shown."""
    begun = time.perf_counter()
    trace = replace(replay.requests(folder), name=replay.name)
    place = out / replay.name
    place.mkdir(parents=True, exist_ok=True)
    recorder, log = Recorder(), Log(place / "steps.partial.csv", deadline_s)
    made: list[TorchExecutor] = []
    gpu = options.device.startswith("cuda")
    if gpu:
        torch.cuda.reset_peak_memory_stats()

    def factory(simulation: Simulation, replica: Replica) -> TorchExecutor:
        made.append(TorchExecutor(simulation, replica, replace(options, on_step=log.note)))
        return made[-1]

    report = run(
        trace,
        policy=replay.policy,
        settings=replay.settings,
        loop="open",
        executor=factory,
        observers=(recorder, log.span),
        **names,
    )
    executor = made[0]
    about = origin(options.device) | {
        "peak_bytes": torch.cuda.max_memory_allocated() if gpu else 0,
        "kv_bytes": executor.cache.page_bytes * executor.cache.pool.count,  # type: ignore[attr-defined]
        "weight_bytes": executor.decoder.weights.nbytes,
        "graphs_s": round(executor.runner.capture_s, 3),
    }
    if isinstance(executor.cache, Hosted) and gpu:
        about["h2d_bytes_per_s"] = round(h2d_bytes_per_s(executor.cache.host, executor.cache.device), -7)
    if replay.family:
        per_s = (len(trace) - 1) / float(trace.arrival_s[-1] - trace.arrival_s[0])
        about |= {"family": replay.family, "rate_per_s": round(per_s, 4)}
    write_replay(place, report, recorder, about)
    _write_steps(place / STEPS, recorder.rows, log.more)
    (place / "steps.partial.csv").unlink()
    return _row(replay, report, executor, log, time.perf_counter() - begun)


def _write_steps(path: Path, rows: Sequence[tuple[Any, ...]], more: Sequence[tuple[Any, ...]]) -> None:
    """The recorder's columns, and ours behind them."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*STEP_COLUMNS, *MORE_COLUMNS))
    writer.writerows((*row, *other) for row, other in zip(rows, more, strict=True))
    with gzip.GzipFile(path, "wb", mtime=0) as packed:
        packed.write(text.getvalue().encode())


def _row(replay: Replay, report: Report, executor: TorchExecutor, log: Log, wall_s: float) -> dict[str, object]:
    figures, counters = report.figures, report.simulation.replicas[0].counters
    predicted = sum(float(row[-1]) for row in log.more)
    return {
        "replay": replay.name,
        "policy": replay.policy,
        "done": figures["requests"]["completed"],
        "steps": counters.steps,
        "gpu_s": counters.gpu_s,
        "predicted_s": predicted,
        "ttft_ms": 1e3 * (figures["ttft_s"]["mean"] or 0.0),
        "preempted": figures["preemptions"],
        "swapped_GB": counters.swapped_out_bytes / 1e9,
        "hit": figures["prefix_hit_ratio"] or 0.0,
        "graphs_s": executor.runner.capture_s,
        "wall_s": wall_s,
    }


def predict(replay: Replay, names: dict[str, Any], folder: Path | None) -> dict[str, object]:
    """What the simulator says of a replay, without a GPU."""
    report = run(replay.requests(folder), policy=replay.policy, settings=replay.settings, loop="open", **names)
    figures, counters = report.figures, report.simulation.replicas[0].counters
    return {
        "replay": replay.name,
        "policy": replay.policy,
        "done": figures["requests"]["completed"],
        "steps": counters.steps,
        "gpu_s": counters.gpu_s,
        "duration_s": figures["duration_s"],
        "ttft_ms": 1e3 * figures["ttft_s"]["mean"],
        "preempted": figures["preemptions"],
        "swapped_GB": counters.swapped_out_bytes / 1e9,
        "hit": figures["prefix_hit_ratio"] or 0.0,
        "fetched_GB": counters.fetched_bytes / 1e9,
        "running": figures["max_running"],
    }


def show(rows: Sequence[dict[str, object]]) -> None:
    """A short table."""
    if not rows:
        return
    names = list(rows[0])
    print("  ".join(f"{name:>18}" if i == 0 else f"{name:>11}" for i, name in enumerate(names)))
    for row in rows:
        cells = [f"{row[name]:.4g}" if isinstance(row[name], float) else str(row[name]) for name in names]
        print("  ".join(f"{cell:>18.18}" if i == 0 else f"{cell:>11.11}" for i, cell in enumerate(cells)), flush=True)


def names_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """What every replay runs with: the machine that is predicted for, the model, the engine preset."""
    serving = "executor" if "executor" in find.paper_names("serving") else "vllm"
    model = arguments.model
    if arguments.tiny:
        path = arguments.out / "tiny.yaml"
        path.write_text(TINY_MODEL, encoding="utf-8")
        model = str(path)
    return {"hw": arguments.hw, "model": model, "serving": serving}


def _pack(folder: Path, path: Path) -> None:
    """All logs so far as one file, which is whole at every moment."""
    part = path.with_name(path.name + ".part")
    with tarfile.open(part, "w:gz") as packed:
        packed.add(folder, folder.name)
    part.rename(path)


def execute_all(
    replays: Sequence[Replay], arguments: argparse.Namespace, names: dict[str, Any], options: Options
) -> list[dict[str, object]]:
    """One after the other until the time is up; what fails is said, and the next begins."""
    begun, rows = time.perf_counter(), []
    decoder: Decoder | None = None
    for replay in replays:
        left = arguments.budget_s - (time.perf_counter() - begun)
        if left < arguments.least_s:
            print(f"{replay.name}: left out, the time is up", flush=True)
            continue
        try:
            decoder = decoder or decoder_of(find.model(names["model"]), arguments.positions, options)
            deadline_s = time.perf_counter() + min(left, arguments.each_s)
            own = replace(options, decoder=decoder)
            rows.append(execute(replay, arguments.out, names, own, arguments.traces, deadline_s))
            show(rows[-1:])
        except Exception as failure:
            print(f"{replay.name}: {type(failure).__name__}: {failure}".split("\n")[0][:300], flush=True)
        if arguments.tar:
            _pack(arguments.out, arguments.tar)
        gc.collect()
        if options.device.startswith("cuda"):
            torch.cuda.empty_cache()
    return rows


def main() -> int:
    """Parses the arguments, runs the replays, prints the table. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m kernels_ref.executor.replays", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the logs, one a replay")
    parser.add_argument("--traces", type=Path, help="folder of the published traces")
    parser.add_argument("--hw", default="h100", help="the machine that is predicted for")
    parser.add_argument("--model", default="llama-3-8b")
    parser.add_argument("--only", default="", help="comma-separated names of replays (default: all)")
    parser.add_argument("--budget-s", type=float, default=300.0)
    parser.add_argument("--each-s", type=float, default=90.0, help="seconds that one replay may take")
    parser.add_argument("--least-s", type=float, default=15.0, help="seconds that must be left to begin one")
    parser.add_argument("--positions", type=int, default=33_500, help="longest context")
    parser.add_argument("--tar", type=Path, help="also pack the logs so far into this .tgz after each replay")
    parser.add_argument("--predict", action="store_true", help="only what the simulator says; needs no GPU")
    parser.add_argument("--tiny", action="store_true", help="a tiny model on the CPU: to see that it runs")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    names = names_of(arguments)
    wanted = [word for word in arguments.only.split(",") if word]
    replays = [replay for replay in (TINY if arguments.tiny else REPLAYS) if not wanted or replay.name in wanted]
    if arguments.predict:
        show([predict(replay, names, arguments.traces) for replay in replays])
        return 0
    options = Options()
    if arguments.tiny:
        repair()
        options = Options(device="cpu", fused=INTERPRETED, check=True)
        arguments.positions = min(arguments.positions, 600)
    gc.disable()  # a collection would show in a step
    with torch.inference_mode():
        rows = execute_all(replays, arguments, names, options)
    print()
    show(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
