"""`kvsim run --executor torch`: by name, on a CPU with a small model, with one-line errors."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny import SPEC, burst

import kvsim
from kvsim.errors import UserError
from kvsim.traces.write import write_trace

SETTINGS = ("--set", "kv_blocks=40", "--set", "max_num_seqs=8", "--set", "max_num_batched_tokens=64")


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    model, trace = tmp_path / "tiny.yaml", tmp_path / "burst.jsonl"
    model.write_text(SPEC)
    write_trace(burst(), trace)
    return str(trace), str(model)


def kvsim_command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "kvsim", *words], capture_output=True, text=True, timeout=120)


def test_a_run_from_the_command_line(files: tuple[str, str]) -> None:
    trace, model = files
    command = ["run", trace, "--model", model, "--executor", "torch:device=cpu", "--json", *SETTINGS]
    result = kvsim_command(*command)
    assert result.returncode == 0, result.stderr
    figures = json.loads(result.stdout)
    assert figures["requests"]["completed"] == 12 and figures["output_tokens_per_s"] > 0


@pytest.mark.parametrize(
    ("settings", "policy", "executor", "message"),
    [
        ({}, "quest", "torch:device=cpu", "does not execute policy 'quest'; it does fp8, full, h2o, headinfer, kivi"),
        ({}, "snapkv+kivi", "torch:device=cpu", "does not execute policy 'snapkv+kivi'"),
        ({}, "kivi", "torch:device=cpu", "set block_tokens=128"),
        ({"prefix_cache": "radix"}, "full", "torch:device=cpu", "set prefix_cache=hash"),
        ({}, "full", "torch:device=tpu", "unknown device 'tpu'"),
        ({}, "full", "torch:devise=cpu", "unknown parameter 'devise': did you mean device?"),
        ({"kv_blocks": 10**7}, "full", "torch:device=cpu", "--set kv_blocks=N takes fewer"),
    ],
)
def test_mistakes(
    files: tuple[str, str], settings: dict[str, object], policy: str, executor: str, message: str
) -> None:
    trace, model = files
    with pytest.raises(UserError) as error:
        kvsim.run(trace, model=model, policy=policy, executor=executor, settings={"kv_blocks": 40} | settings)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_models_that_are_not_llama(files: tuple[str, str]) -> None:
    trace, _ = files
    with pytest.raises(UserError, match=r"OPT.* has learned positions, an MLP without a gate"):
        kvsim.run(trace, model="opt-6.7b", executor="torch:device=cpu", settings={"kv_blocks": 40})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu(files: tuple[str, str]) -> None:
    with pytest.raises(UserError, match="there is no CUDA device here; torch:device=cpu runs a small model"):
        kvsim.run(files[0], executor="torch")
