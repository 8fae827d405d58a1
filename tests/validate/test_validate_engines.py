"""Engines that others measured, and a user's own log, against the simulator."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import kvsim
from kvsim.cli.validate import validate_command
from kvsim.errors import UserError
from kvsim.find import ROOT
from kvsim.specs.load import load
from kvsim.traces.generate import generate
from kvsim.traces.open import open_trace
from kvsim.traces.trace import Measured, Trace
from kvsim.validate.enginelog import check_log
from kvsim.validate.engines import EngineRuns, check, engine_checks

VLLM = ROOT / "workloads" / "engines" / "vllm-0.15.1-h100.yaml"


def run_of(name: str, rate: float) -> tuple[EngineRuns, Any]:
    runs = load(EngineRuns, VLLM)
    return runs, next(one for one in runs.runs if one.name == name and one.rate_per_s == rate)


def test_published_runs_are_read_as_they_were_measured() -> None:
    runs, one = run_of("llama-2-7b general", 8)
    assert len(runs.runs) == 11 and runs.engine == "vLLM 0.15.1"
    assert one.measured["ttft_s"]["mean"] == 0.02711 and one.measured["e2e_s"]["mean"] == 2.0576
    trace = generate(one.generate)
    assert len(trace) == 4800 and trace.prompt_tokens.mean() == pytest.approx(575.45, abs=2)
    assert trace.blocks is not None and len(np.unique(trace.blocks.ids)) == 110  # 100 prompts of 10 system prompts


def test_first_tokens_of_a_pool_depend_on_reuse() -> None:
    """Llama-2-7B at 8 requests a second: end to end within 10 %; without hits a first token takes the prefill too."""
    found = check(*run_of("llama-2-7b general", 8))
    assert abs(found.error("e2e_s", "mean") or 1) < 0.10
    assert abs(found.error("ttft_s", "mean") or 1) < 0.15
    assert abs(found.tpot_error) < 0.15
    assert abs(found.step_error) < 0.08  # the batch's own growth left out
    assert found.without_reuse["ttft_s"]["mean"] > 1.2 * found.predicted["ttft_s"]["mean"]
    assert found.error("ttft_s", "p95") is None


def test_the_shipped_workload_is_the_published_one() -> None:
    _, one = run_of("llama-2-7b general", 8)
    trace, _ = open_trace("prompt-pool")
    same = generate(one.generate)
    assert np.array_equal(trace.prompt_tokens, same.prompt_tokens) and np.array_equal(trace.arrival_s, same.arrival_s)


def test_runs_of_another_machine_are_none() -> None:
    assert not list(engine_checks(hw="l40s"))
    with pytest.raises(UserError, match="unknown engine"):
        list(engine_checks("vlm"))


def log_of(slower: float = 1.0) -> Trace:
    """Requests whose measured latencies are those of the simulator, times a factor."""
    rng = np.random.default_rng(2)
    arrival = np.sort(rng.uniform(0, 5, 40))
    trace = Trace("log", arrival - arrival[0], rng.integers(100, 2000, 40), rng.integers(2, 100, 40))
    columns = kvsim.run(trace, hw="h100", model="llama-2-7b").simulation.columns
    first_s, done_s = columns.first_token_s - trace.arrival_s, columns.done_s - trace.arrival_s
    measured = Measured(slower * first_s, slower * done_s)
    return Trace("log", trace.arrival_s, trace.prompt_tokens, trace.output_tokens, measured=measured)


@pytest.mark.parametrize("slower", [1.0, 1.25])
def test_a_log_is_held_against_its_replay(slower: float) -> None:
    found = check_log(log_of(slower), hw="h100", model="llama-2-7b")
    assert set(found.latencies) == {"ttft", "tpot", "e2e"}
    for one in found.latencies.values():
        assert one.requests == 40 and one.correlation == pytest.approx(1.0)
        assert one.mean[1] / one.mean[0] == pytest.approx(1 / slower)
        assert one.median_error == pytest.approx(1 - 1 / slower, abs=1e-9)
        assert one.percentiles[99][0] == pytest.approx(slower * one.percentiles[99][1])
    assert any(line.startswith("steps: ") for line in found.explained)


def test_a_log_without_latencies_is_refused() -> None:
    with pytest.raises(UserError, match="has no measured latencies"):
        check_log(Trace("plain", np.zeros(1), np.ones(1, np.int64), np.ones(1, np.int64)), hw="h100")


def vllm_result(path: Path, trace: Trace) -> Path:
    """What `vllm bench serve --save-detailed` writes, of a trace with latencies."""
    assert trace.measured is not None
    first, rest = trace.measured.ttft_s, trace.measured.e2e_s - trace.measured.ttft_s
    rest_s = [[one / (n - 1)] * (n - 1) for one, n in zip(rest.tolist(), trace.output_tokens.tolist(), strict=True)]
    result = {
        "num_prompts": len(trace), "completed": len(trace), "total_input_tokens": int(trace.prompt_tokens.sum()),
        "input_lens": trace.prompt_tokens.tolist(), "output_lens": trace.output_tokens.tolist(),
        "ttfts": first.tolist(), "itls": rest_s, "start_times": (1000 + trace.arrival_s).tolist(),
        "errors": [""] * len(trace),
    }  # fmt: skip
    path.write_text(json.dumps(result))
    return path


def test_the_command_reads_a_benchmarks_result(tmp_path: Path) -> None:
    path = vllm_result(tmp_path / "result.json", log_of(1.1))
    command = ["--log", str(path), "--hw", "h100", "--model", "llama-2-7b", "--serving", "vllm"]
    shown = CliRunner().invoke(validate_command, command)
    assert shown.exit_code == 0, shown.output
    assert "ttft measured" in shown.output
    assert "- steps: the median time per output token is predicted -9." in shown.output
    found = json.loads(CliRunner().invoke(validate_command, [*command, "--json"]).output)
    pair = found["latencies"]["e2e_s"]["mean"]
    assert pair["predicted"] / pair["measured"] == pytest.approx(1 / 1.1, rel=1e-3)


def test_the_command_reads_requests_with_stamps(tmp_path: Path) -> None:
    trace = log_of(1.1)
    assert trace.measured is not None
    rows = zip(
        trace.arrival_s, trace.prompt_tokens, trace.output_tokens, trace.arrival_s + trace.measured.ttft_s,
        trace.arrival_s + trace.measured.e2e_s, strict=True,
    )  # fmt: skip
    path = tmp_path / "log.csv"
    path.write_text("at,in,out,first,end\n" + "".join(f"{','.join(map(str, row))}\n" for row in rows))
    mapped = ["--map", "arrival=at,input=in,output=out,first=first,done=end"]
    shown = CliRunner().invoke(validate_command, ["--log", str(path), "--hw", "h100", "--model", "llama-2-7b", *mapped])
    assert shown.exit_code == 0, shown.output
    assert "e2e measured" in shown.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--log", "x.json", "--hw", "h100"], "give --hw and --model"),
        (["--log", "x.json", "--borrow"], "validate --log: takes"),
        (["--set", "max_num_seqs=1"], "--set is for --log FILE"),
        (["engines", "--borrow"], "--borrow is for kernels, steps and replays"),
        (["steps", "--on", "x.csv"], "--on is for kernels"),
        (["engine"], "unknown part 'engine': did you mean engines?"),
        (["engines", "--hw", "l40s"], "none are logged of l40s"),
    ],
)
def test_mistakes(options: list[str], said: str) -> None:
    shown = CliRunner().invoke(validate_command, options)
    assert isinstance(shown.exception, UserError) and said in str(shown.exception)
