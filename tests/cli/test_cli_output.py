"""What the commands print: JSON by the contract, tables with what matters in them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Cli = Callable[..., Any]
SPREAD = {"mean", "p50", "p90", "p95", "p99"}
CONTRACT = {
    "requests", "duration_s", "ttft_s", "tpot_s", "e2e_s", "prompt_tokens", "output_tokens", "output_tokens_per_s",
    "peak_bytes", "kv_bytes_per_token", "kv_capacity_tokens", "max_running", "preemptions", "prefix_hit_ratio",
    "bytes_moved", "busy", "usd_per_mtok", "joules_per_token", "wall_s", "assumptions", "bound",
}  # fmt: skip


def test_run_prints_one_json_object(kvsim_cli: Cli, tiny: list[str]) -> None:
    ended = kvsim_cli(*tiny, "--json", "--check")
    assert (ended.code, ended.err) == (0, "")
    figures = json.loads(ended.out)
    assert figures.keys() >= CONTRACT
    assert figures["requests"] == {"injected": 3, "completed": 3, "rejected": 0, "running": 0, "queued": 0}
    assert all(figures[key].keys() >= SPREAD for key in ("ttft_s", "tpot_s", "e2e_s", "queue_s"))
    assert (figures["prompt_tokens"], figures["output_tokens"]) == (2140, 26)
    assert figures["kv_bytes_per_token"] == 131072
    assert all(0 <= share <= 1 for share in figures["busy"].values())
    assert figures["bound"].startswith("Underloaded")


def test_the_same_seed_gives_the_same_bytes(kvsim_cli: Cli) -> None:
    words = ("run", "bursty-code", "--limit", "50", "--seed", "7", "--json")
    first, again = (json.loads(kvsim_cli(*words).out) for _ in range(2))
    other = json.loads(kvsim_cli("run", "bursty-code", "--limit", "50", "--seed", "8", "--json").out)
    for figures in (first, again, other):
        assert figures.pop("wall_s") > 0
    assert json.dumps(first) == json.dumps(again) != json.dumps(other)


def test_options_reach_the_run(kvsim_cli: Cli, tiny: list[str]) -> None:
    base = json.loads(kvsim_cli(*tiny, "--json").out)
    exact = json.loads(kvsim_cli(*tiny, "--json", "--exact").out)
    assert exact["steps"] == base["steps"] and exact["events"] > base["events"] and exact["e2e_s"] == base["e2e_s"]
    figures = json.loads(kvsim_cli(*tiny, "--json", "--hw", "h100x4", "--tp", "2", "--replicas", "3").out)
    assert (figures["chips"], figures["replicas"], figures["tp"]) == (12, 6, 2)
    figures = json.loads(kvsim_cli(*tiny, "--json", "--set", "kv_blocks=500", "--set", "null_blocks=0").out)
    assert figures["kv_capacity_tokens"] == 8000
    figures = json.loads(kvsim_cli(*tiny, "--json", "--until", "600 ms").out)
    assert figures["requests"]["injected"] == 2
    figures = json.loads(kvsim_cli(*tiny, "--json", "--warmup", "0.4", "--limit", "2").out)
    assert figures["prompt_tokens"] == 2000
    figures = json.loads(kvsim_cli(*tiny, "--json", "--policy", "kivi", "--fidelity", "published").out)
    assert "policy at published fidelity" in figures["assumptions"]


def test_the_table_is_plain_and_holds_what_matters(kvsim_cli: Cli, tiny: list[str]) -> None:
    ended = kvsim_cli(*tiny, "--policy", "headinfer", "--hw", "rtx4090")
    assert (ended.code, ended.err) == (0, "")
    assert "\x1b" not in ended.out and "..." not in ended.out
    assert all(len(line) <= 96 for line in ended.out.splitlines())
    for words in (
        "tiny on rtx4090: llama-3-8b, policy headinfer, serving vllm",
        "latency                         mean         p50         p90         p95         p99",
        "time to first token",
        "of it in the queue",
        "3 of 3 completed",
        "131,072 bytes a token of context, in host DRAM",
        "weights                                -16.06 GB",
        "host to GPU",
        "per million output tokens",
        "J per output token",
        "assumed",
        "- policy at ideal fidelity",
    ):
        assert words in ended.out, words


def test_rejections_are_told_with_their_reason(kvsim_cli: Cli, tiny: list[str]) -> None:
    out = kvsim_cli(*tiny, "--set", "max_model_len=1000").out
    assert "2 of 3 completed" in out and "1: prompt and output exceed max_model_len=1000" in out
    none = kvsim_cli(*tiny, "--set", "max_model_len=3")
    assert none.code == 0 and "0 of 3 completed" in none.out and "No request was completed" in none.out


def test_step_names_the_host_link(kvsim_cli: Cli) -> None:
    words = ("step", "--hw", "rtx4090", "--model", "llama-3-8b", "--policy", "headinfer", "--context", "1000000")
    out = kvsim_cli(*words).out
    assert "bound by host link (fetch_cache" in out and "131 GB in dram" in out
    figures = json.loads(kvsim_cli(*words, "--json").out)
    assert figures["bound"].startswith("host link") and figures["seconds"] >= figures["lanes"]["h2d"]
    assert figures["ops"][0].keys() >= {"name", "lane", "seconds", "flops", "bytes", "bound", "provenance"}
    assert sum(op["seconds"] for op in figures["ops"] if op["lane"] == "gpu") == pytest.approx(figures["lanes"]["gpu"])


@pytest.mark.parametrize("phase", ["prefill", "decode", "mixed"])
def test_step_of_several_chips(kvsim_cli: Cli, phase: str) -> None:
    out = kvsim_cli("step", "--hw", "h100x8", "--model", "llama-3-70b", "--phase", phase, "--batch", "2").out
    assert "between chips" in out and "8 of h100x8's chips" in out
    assert all(len(line) <= 96 for line in out.splitlines())


def test_op(kvsim_cli: Cli) -> None:
    figures = json.loads(kvsim_cli("op", "gemm", "m=16", "n=4096", "k=14336", "--hw", "h100", "--json").out)
    assert figures.keys() == {"seconds", "roofline_s", "efficiency", "bound", "provenance", "expected_error"}
    assert figures["efficiency"] == pytest.approx(figures["roofline_s"] / figures["seconds"])
    rows = json.loads(kvsim_cli("op", "gemm", "m=16,32", "n=4096", "k=14336", "--hw", "h100", "--json").out)
    assert rows["seconds"][0] == pytest.approx(figures["seconds"])
    assert rows["bound"] == ["HBM bandwidth", "HBM bandwidth"]
    mixed = json.loads(kvsim_cli("op", "gemm", "m=16,8192", "n=4096", "k=14336", "--hw", "h100", "--json").out)
    assert mixed["bound"] == ["HBM bandwidth", "bf16 FLOPs"]


def test_op_names_the_kernel_that_a_curve_was_fitted_to(kvsim_cli: Cli) -> None:
    shape = ("op", "gemm", "m=16", "n=4096", "k=14336")
    assert "datasheet rates" in kvsim_cli(*shape, "--hw", "a6000").out
    assert "curve of torch.mm, from kvsim calibrate" in kvsim_cli(*shape, "--hw", "h100").out
    assert "curve of cuBLAS as vLLM 0.14 calls it, from aiconfigurator" in kvsim_cli(*shape, "--hw", "a100-80").out
    assert "borrowed from a100-sxm-80gb: cuBLAS as vLLM 0.14 calls it" in kvsim_cli(*shape, "--hw", "a100-40").out


def test_step_and_run_say_where_seconds_come_from(kvsim_cli: Cli, tiny: list[str]) -> None:
    words = ("step", "--hw", "l40s", "--model", "llama-3-8b", "--batch", "8", "--json")
    figures = json.loads(kvsim_cli(*words).out)
    sources = {op["name"]: op["provenance"] for op in figures["ops"]}
    assert sources["up_proj"].startswith("curve of cuBLAS")
    assert sources["attention_decode"].endswith("affine in a batch's sums")
    assert sources["norm"] == "datasheet"
    assert 0.1 < figures["expected_error"] < 0.25
    ran = json.loads(kvsim_cli(*tiny, "--hw", "l40s", "--json").out)
    assert any(note.startswith("gemm: curve of cuBLAS") for note in ran["assumptions"])
    assert 0.1 < ran["provenance"]["expected_error"] < 0.25
    plain = json.loads(kvsim_cli(*tiny, "--hw", "a6000", "--json").out)
    assert plain["provenance"]["rates"] == "datasheet"
    assert 0.25 < plain["provenance"]["expected_error"] < 0.27  # 25 %, and 40 % of passes over memory
    assert any("elementwise: datasheet rates" in note and "+-40%" in note for note in plain["assumptions"])
    table = kvsim_cli("op", "copy", "lane=h2d", "bytes=1 GB", "--hw", "rtx4090").out
    assert "copy lane=h2d bytes=1 GB on rtx4090" in table and "host link" in table and "datasheet rates" in table


@pytest.mark.parametrize("what", ["hw", "models", "policies", "serving", "prefix", "traces"])
def test_list(kvsim_cli: Cli, what: str) -> None:
    found = json.loads(kvsim_cli("list", what, "--json").out)
    lines = kvsim_cli("list", what).out
    assert found[what]
    for entry in found[what]:
        assert entry["about"] and any(line.startswith(entry["name"] + " ") for line in lines.splitlines())
    if what == "policies":
        kivi = next(entry for entry in found[what] if entry["name"] == "kivi")
        assert (kivi["arxiv"], kivi["sets"]) == ("2402.02750", ["quantizer"])
        assert kivi["parameters"]["bits"] == 2 and "kivi:bits=2:group=32:residual=128" in lines
    if what == "prefix":
        assert {entry["name"] for entry in found[what] if entry["knows_future"]} == {"belady", "succinct"}
        assert "succinct:accuracy=0.9:prompts=true:seed=0  accuracy: probability that a bit is right" in lines
    if what == "serving":
        assert all(field["about"] for field in found["settings"]), "a field of Serving has no line in its docstring"
        assert "max_num_seqs=256" in lines and "[recompute|swap]" in lines


def test_model_import(kvsim_cli: Cli, tmp_path: Path) -> None:
    config = {
        "architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "num_attention_heads": 32, "num_hidden_layers": 32,
        "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 8192, "intermediate_size": 14336,
        "torch_dtype": "bfloat16", "tie_word_embeddings": False,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    shown = kvsim_cli("model", "import", tmp_path / "config.json")
    assert shown.code == 0 and yaml.safe_load(shown.out)["layers"] == 32
    assert "8.03 G parameters" in shown.err and "131,072 bytes of KV cache a token" in shown.err
    ended = kvsim_cli("model", "import", tmp_path / "config.json", "--out", tmp_path / "mine.yaml")
    assert (ended.code, ended.out) == (0, "")
    assert (tmp_path / "mine.yaml").read_text() == shown.out
    figures = json.loads(
        kvsim_cli("run", "quickstart", "--limit", "2", "--model", tmp_path / "mine.yaml", "--json").out
    )
    assert figures["kv_bytes_per_token"] == 131072
    assert "must end in .yaml" in kvsim_cli("model", "import", tmp_path / "config.json", "--out", "x").mistake
