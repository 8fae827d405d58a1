"""Logs of replays: written and read back, in lockstep and free-running, with an executor of made-up seconds."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kvsim
from kvsim.engine.executor import Executed, Step
from kvsim.errors import UserError
from kvsim.traces.trace import Blocks, Trace
from kvsim.validate.replaycheck import ReplayCheck, check, checks, doubling, equal_rate, folders, knees, overlap
from kvsim.validate.replaylog import STEPS, Logged, Recorder, read_replay, write_replay
from kvsim.validate.steptables import replay_json, replay_lines


class Slow:
    """A made-up machine: so many times as long as the model says, step by step."""

    def __init__(self, factor: float, simulation: Any, replica: Any) -> None:
        self.factor, self.replica = factor, replica

    def step(self, step: Step) -> Executed:
        chunk = sum(seq.chunk for seq in step.chunks)
        seconds = self.factor * (5e-3 + 2e-5 * chunk + 1e-4 * len(step.decoding))
        return Executed(seconds, seconds)

    def close(self) -> None:
        pass


def requests(count: int = 30, blocks: bool = False) -> Trace:
    rng = np.random.default_rng(5)
    prompt = rng.integers(100, 900, count)
    ids = Blocks(np.arange(count) % 7, np.arange(count + 1), 16, counts=-(-prompt // 16)) if blocks else None
    arrival = np.sort(rng.uniform(0, 1.5, count))
    return Trace("burst", arrival - arrival[0], prompt, rng.integers(5, 80, count), ids)


def log(folder: Path, factor: float = 1.0, trace: Trace | None = None, about: Any = None, **options: Any) -> Any:
    recorder = Recorder()
    make: Callable[..., Any] = lambda simulation, replica: Slow(factor, simulation, replica)  # noqa: E731
    report = kvsim.run(
        requests() if trace is None else trace, hw="h100", executor=make, observers=(recorder,), **options
    )
    write_replay(folder, report, recorder, about or {"command": "made up"})
    return report


def test_a_log_reads_back_as_it_was_run(tmp_path: Path) -> None:
    folder = tmp_path / "h100" / "replays" / "burst"
    report = log(folder, settings={"max_num_seqs": 8, "kv_blocks": 130}, trace=requests(blocks=True))
    replay = read_replay(folder)
    assert (replay.chip, replay.name) == ("h100", "burst")
    assert replay.arguments["settings"] == {"max_num_seqs": 8, "kv_blocks": 130}
    assert replay.trace.blocks is not None and np.array_equal(replay.trace.prompt_tokens, requests().prompt_tokens)
    assert np.array_equal(replay.requests["done_s"], report.simulation.columns.done_s)
    assert len(replay.steps["seconds"]) == report.figures["steps"]
    assert replay.preempted == tuple(report.simulation.replicas[0].scheduler.preempted) and replay.preempted
    found = check(replay)
    assert found.lockstep.same_preemptions and found.lockstep.same_times and found.peak_bytes is None
    assert found.free.figures["ttft_s mean"][0] == report.figures["ttft_s"]["mean"]


def test_lockstep_has_the_models_error_alone(tmp_path: Path) -> None:
    """The schedule is the executed one, so a machine twice as slow is exactly twice as wrong."""
    one, two = (check(_logged(tmp_path / name / "replays" / "x", factor)) for name, factor in (("a", 1.0), ("b", 2.0)))
    for found in (one, two):
        executed, predicted = found.lockstep.executed_s, found.lockstep.predicted_s
        error = np.abs(predicted / executed - 1)
        assert found.lockstep.p90 == pytest.approx(np.percentile(error, 90))
        assert found.lockstep.total_error == pytest.approx(predicted.sum() / executed.sum() - 1)
        parts = found.lockstep.by_kind
        assert set(parts) <= {"decode", "short", "prompts"}
        assert sum(share for share, _ in parts.values()) == pytest.approx(1)
        assert sum(share * error for share, error in parts.values()) == pytest.approx(found.lockstep.total_error)
    assert two.lockstep.total_error < one.lockstep.total_error
    assert two.free.figures["ttft_s mean"][0] > one.free.figures["ttft_s mean"][0]
    assert two.free.figures["ttft_s mean"][1] == one.free.figures["ttft_s mean"][1]  # the model has not changed


def _logged(folder: Path, factor: float) -> Any:
    log(folder, factor)
    return read_replay(folder)


def test_the_rate_at_which_the_model_is_as_slow(tmp_path: Path) -> None:
    """Where requests queue, a latency that is 30 % off is that of a rate some percent away."""
    folder, options = tmp_path / "a" / "replays" / "x", {"settings": {"max_num_seqs": 2}}
    trace = replace(requests(60), arrival_s=requests(60).arrival_s * 6)
    log(folder, 1.0, trace, **options)
    replay = read_replay(folder)
    mean_s = kvsim.run(trace, hw="h100", **options).figures["e2e_s"]["mean"]
    assert equal_rate(replay, mean_s) == pytest.approx(1.0, abs=0.01)
    assert 1.01 < (equal_rate(replay, 1.3 * mean_s) or 0) < 1.15
    assert equal_rate(replay, 100 * mean_s) is None and equal_rate(replay, None) is None
    idle = replace(replay, trace=replace(trace, arrival_s=trace.arrival_s * 10))
    assert equal_rate(idle, mean_s) is None  # nobody waits: the rate says nothing


def test_a_log_of_another_scheduler_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "h100" / "replays" / "burst"
    log(folder)
    replay = read_replay(folder)
    replay.steps["decodes"][3] += 1
    with pytest.raises(UserError, match=r"step 4 now has .* but was logged with"):
        check(replay)


def test_faults_of_a_log_are_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "h100" / "replays" / "burst"
    log(folder)
    (folder / STEPS).unlink()
    with pytest.raises(UserError, match="cannot be read"):
        read_replay(folder)
    with pytest.raises(UserError, match="cannot be read"):
        read_replay(tmp_path)


def test_all_logs_of_a_chip_and_the_rate_at_which_latency_doubles(tmp_path: Path) -> None:
    for rate in (1.0, 2.0, 4.0, 8.0):
        trace = requests(60)
        faster = Trace(trace.name, trace.arrival_s * 10 / rate, trace.prompt_tokens, trace.output_tokens)
        about = {"family": "burst", "rate_per_s": 4 * rate, "peak_bytes": 70_000_000_000}
        log(tmp_path / "h100" / "replays" / f"burst-x{rate:g}", 6.0, faster, about)
    assert len(folders("h100", tmp_path)) == 4 and not folders("h200", tmp_path)
    found: list[ReplayCheck] = checks("h100", tmp_path)
    assert found[0].peak_bytes and 0.8 < found[0].peak_bytes[1] / 70e9 < 1.2
    text = "\n".join(replay_lines(found, knees(found)))
    assert (
        "burst-x8" in text
        and "as logged" in text
        and "peak memory 70.0 GB" in text
        and "the mean time to the first token doubles" in text
    )
    json.dumps(replay_json(found, knees(found)), allow_nan=False)
    (knee,) = knees(found)
    assert knee.family == "h100/burst" and knee.rates == (4.0, 8.0, 16.0, 32.0)
    assert knee.executed is None or 4.0 < knee.executed <= 32.0


def test_doubling_and_overlap() -> None:
    assert doubling([1, 2, 4], [1.0, 1.0, 4.0]) == pytest.approx(2 * 2**0.5)
    assert doubling([1, 2, 4], [1.0, 1.1, 1.9]) is None
    assert overlap([1, 2, 2, 3], [2, 3, 3, 4]) == pytest.approx(0.5)
    assert overlap([], []) is None and overlap([1], []) == 0.0


def test_the_logs_seconds_are_what_is_run(tmp_path: Path) -> None:
    folder = tmp_path / "h100" / "replays" / "burst"
    report = log(folder)
    again = kvsim.run(
        read_replay(folder).trace, hw="h100", executor=lambda simulation, replica: Logged(read_replay(folder))
    )
    assert np.array_equal(again.simulation.columns.done_s, report.simulation.columns.done_s)
