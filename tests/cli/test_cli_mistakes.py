"""A user's mistake is one line on stderr and exit code 2; nothing is left half done."""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RUN = ("run", "quickstart", "--limit", "3")
STEP = ("step", "--hw", "h100", "--model", "llama-3-8b")
GEMM = ("op", "gemm", "m=1", "n=2", "k=3")

MISTAKES: list[tuple[tuple[str, ...], str]] = [
    (("rnu",), "unknown command 'rnu': did you mean run?"),
    (("trace", "sats"), "trace: unknown command 'sats': did you mean stats?"),
    (("run",), "run: missing argument 'TRACE'"),
    (("run", "quikstart"), "did you mean quickstart?"),
    (("run", "no/such.csv"), "No such file"),
    ((*RUN, "--polcy", "kivi"), "unknown option '--polcy': did you mean --policy?"),
    ((*RUN, "--limit", "x"), "'x' is not a valid integer"),
    ((*RUN, "--hw", "h10"), "unknown hw 'h10': did you mean h100"),
    ((*RUN, "--hw", "h100x3"), "1, 2, 4 or 8 chips"),
    ((*RUN, "--hw", ""), "unknown hw ''"),
    ((*RUN, "--model", "lama-3-8b"), "did you mean llama-3-8b"),
    ((*RUN, "--policy", "kivy"), "unknown policy 'kivy': did you mean kivi"),
    ((*RUN, "--policy", "kivi:bit=4"), "unknown parameter 'bit': did you mean bits?"),
    ((*RUN, "--policy", "kivi:bits"), "a parameter is name=value"),
    ((*RUN, "--policy", "kivi:bits=5"), "bits must be 2, 4 or 8, but got 5"),
    ((*RUN, "--policy", "kivi+fp8"), "kivi and fp8 both set quantizer"),
    ((*RUN, "--policy", "snapkv+h2o"), "both set retention"),
    ((*RUN, "--fidelity", "real"), "fidelity must be ideal or published"),
    ((*RUN, "--serving", "vlm"), "did you mean vllm?"),
    ((*RUN, "--set", "max_num_seq=3"), "unknown setting 'max_num_seq': did you mean max_num_seqs"),
    ((*RUN, "--set", "max_num_seqs"), "--set must be NAME=VALUE"),
    ((*RUN, "--set", "max_num_seqs=many"), "max_num_seqs must be int, but got 'many'"),
    ((*RUN, "--set", "max_num_seqs=0"), "max_num_seqs must be at least 1, but got 0"),
    ((*RUN, "--set", "schedule_step_s=nan"), "schedule_step_s must be"),
    ((*RUN, "--set", "preemption=hope"), "preemption must be one of recompute, swap"),
    ((*RUN, "--executor", "gpu"), "unknown executor 'gpu'"),
    ((*RUN, "--executor", "mdel"), "unknown executor 'mdel': did you mean model?"),
    ((*RUN, "--tp", "3"), "tp must divide"),
    ((*RUN, "--tp", "0"), "tp must divide"),
    ((*RUN, "--hw", "h100x8", "--model", "qwen2.5-7b"), "8 does not divide"),
    ((*RUN, "--replicas", "0"), "replicas must be from 1"),
    ((*RUN, "--until", "0"), "until must be more than 0 s"),
    ((*RUN, "--until", "soon"), "--until must be"),
    ((*RUN, "--until", "3 GB"), "--until must have a unit of s"),
    ((*RUN, "--warmup", "-1"), "warmup must be at least 0 s"),
    ((*RUN, "--warmup", "nan"), "--warmup must be finite"),
    ((*RUN, "--map", "arrival=t"), "input is missing"),
    ((*RUN, "--format", "azure"), "generates its requests"),
    ((*RUN, "--model", "llama-3-70b"), "leaves no room for a cache on h100"),
    ((*STEP, "--phase", "decoding"), "phase must be one of prefill, decode, mixed"),
    ((*STEP, "--context", "0"), "context must be whole numbers from 1"),
    ((*STEP, "--batch", "-3"), "batch must be whole numbers from 1"),
    ((*STEP, "--context", "5", "--generated", "5"), "context must be more than generated"),
    ((*STEP, "--tp", "2"), "h100 has 1 chips, but got 2"),
    ((*STEP, "--tp", "0"), "--tp must be at least 1"),
    ((*STEP, "--weight-dtype", "int3"), "unknown weight dtype 'int3': did you mean int8 or int4?"),
    (("step", "--model", "llama-3-8b"), "missing option '--hw'"),
    ((*GEMM,), "missing option '--hw'"),
    ((*GEMM, "--hw", "h10"), "did you mean h100"),
    (("op", "gem", "--hw", "h100"), "unknown op 'gem': did you mean gemm?"),
    (("op", "gemm", "m=1", "--hw", "h100"), "op gemm: needs n k; it takes m n k dtype"),
    ((*GEMM, "j=4", "--hw", "h100"), "unknown argument 'j'"),
    ((*GEMM, "m4", "--hw", "h100"), "must be NAME=VALUE, but got 'm4'"),
    ((*GEMM, "m=x", "--hw", "h100"), "m must be a positive number"),
    ((*GEMM, "m=nan", "--hw", "h100"), "m must be a positive number"),
    ((*GEMM, "m=-1", "--hw", "h100"), "m must be a positive number"),
    ((*GEMM, "m=1e30", "--hw", "h100"), "m must be at most"),
    ((*GEMM, "m=1,2", "n=1,2,3", "--hw", "h100"), "lists must be of one length"),
    ((*GEMM, "dtype=3", "--hw", "h100"), "unknown dtype '3'"),
    (
        ("op", "copy", "lane=up", "bytes=1 GB", "--hw", "h100"),
        "lane must be h2d, d2h, nvme_read, nvme_write, cxl or nic",
    ),
    (("op", "copy", "bytes=1 Gb/s", "--hw", "h100"), "bytes must have a unit of bytes"),
    (("op", "all_reduce", "bytes=8", "gpus=4", "--hw", "h100x2"), "gpus must be 2 to"),
    (("op", "all_reduce", "bytes=8", "gpus=2", "--hw", "h100"), "h100 has 1 chip"),
    (("op", "copy", "lane=nvme_read", "bytes=8", "--hw", "h100"), "that takes a drive: add +nvme to --hw"),
    (
        (
            "op",
            "attention_prefill",
            "batch=1",
            "new=4",
            "past=-1",
            "heads=8",
            "kv_heads=8",
            "head_dim=64",
            "--hw",
            "h100",
        ),
        "past must be 0 or a positive number, but got -1",
    ),
    (("roofline", *STEP[1:], "--weight-dtype", "foo"), "unknown weight dtype 'foo'; there are: bf16"),
    (("run", ""), "unknown workload or trace file ''; there are: agents"),
    ((*RUN, "--warmup", "1 h"), "warmup: no request arrives after 3600 s, the last one at"),
    ((*RUN, "--replicas", "100000000"), "replicas must be from 1 to 10,000"),
    ((*RUN, "--set", "kv_blocks=1"), "kv_blocks=1: must be more than the 1 of the engine's own"),
    (("run", "agents", "--sessions-per-s", "-1"), "session rate must be more than 0 per second and finite"),
    (("list", "polices"), "did you mean policies?"),
    (("list",), "list: missing argument"),
    (("model", "import", "no.json"), "No such file"),
]


@pytest.mark.parametrize(
    ("words", "message"), MISTAKES, ids=lambda value: "" if isinstance(value, str) else " ".join(value)[-40:]
)
def test_one_line(kvsim_cli: Callable[..., Any], words: tuple[str, ...], message: str) -> None:
    assert message in kvsim_cli(*words).mistake


@pytest.mark.parametrize("option", ["--out", "--timeline"])
def test_places_that_cannot_be_written(kvsim_cli: Callable[..., Any], tmp_path: Path, option: str) -> None:
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file" / "below", tmp_path / "no" / "parent", Path("/proc/nothing/here")):
        assert "cannot be written" in kvsim_cli(*RUN, option, place).mistake
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_out_takes_no_place_of_others(
    kvsim_cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "thesis.txt").write_text("years of work")
    assert "has thesis.txt" in kvsim_cli(*RUN, "--out", tmp_path / "notes").mistake
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "report.json").write_text("[1]")
    assert "no report of kvsim" in kvsim_cli(*RUN, "--out", tmp_path / "other").mistake
    (tmp_path / "file").write_text("mine")
    assert "is a file" in kvsim_cli(*RUN, "--out", tmp_path / "file").mistake
    assert "is there already" in kvsim_cli(*RUN, "--timeline", tmp_path / "notes").mistake
    monkeypatch.chdir(tmp_path / "notes")
    for here in (".", "..", tmp_path):
        assert "is the current folder" in kvsim_cli(*RUN, "--out", here).mistake
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "notes", "other", "report.json", "thesis.txt"]


def test_names_are_checked_before_a_trace_is_read(kvsim_cli: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "broken.csv").write_bytes(b"\xff\xfe\x00")
    assert "unknown hw" in kvsim_cli("run", tmp_path / "broken.csv", "--hw", "h10").mistake
    assert "unknown policy" in kvsim_cli("run", tmp_path / "broken.csv", "--policy", "kivy").mistake


@pytest.mark.parametrize("name", ["a\nb.csv", "x\x00.csv"])
def test_odd_file_names_stay_on_one_line(kvsim_cli: Callable[..., Any], name: str) -> None:
    assert kvsim_cli("run", name).mistake


LONG_LIST = "m=" + ",".join(str(number) for number in range(1, 20_000))


@pytest.mark.parametrize(
    "words", [("list", "hw"), (*RUN, "--json"), RUN, ("op", "gemm", LONG_LIST, "n=2", "k=3", "--hw", "h100", "--json")]
)
def test_a_closed_pipe_ends_quietly(start: Callable[..., Any], words: tuple[str, ...]) -> None:
    with start(*words) as process:
        process.stdout.close()
        err = process.stderr.read()
        assert process.wait(timeout=60) == 2
    assert err == b""


def test_a_full_disk_is_one_line(start: Callable[..., Any]) -> None:
    with Path("/dev/full").open("wb") as full, start("list", "hw", stdout=full) as process:
        err = process.stderr.read().decode()
        assert process.wait(timeout=60) == 2
    assert err.startswith("kvsim: cannot write to stdout: No space left") and err.count("\n") == 1


@pytest.mark.parametrize(("number", "code", "lines"), [(signal.SIGINT, 130, 1), (signal.SIGTERM, 143, 0)])
def test_stopped_in_mid_run(
    start: Callable[..., Any], tmp_path: Path, number: signal.Signals, code: int, lines: int
) -> None:
    (tmp_path / "long.yaml").write_text(
        "generate: {requests: 2000000, arrivals: {rate_per_s: 20}, prompt: {tokens: 100}, output: {tokens: 100}}\n"
    )
    process = start("run", "long.yaml", "--out", "report", "--timeline", "t.json", cwd=tmp_path)
    time.sleep(2.0)
    assert process.poll() is None, process.stderr.read()
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == code
    assert (out, err.count(b"\n")) == (b"", lines), err
    assert [path.name for path in tmp_path.iterdir()] == ["long.yaml"]


def test_a_warmup_that_nobody_outlasts_still_reports(kvsim_cli: Callable[..., Any]) -> None:
    ended = kvsim_cli("run", "quickstart", "--warmup", "20", "--until", "20.5", "--json")
    assert ended.code == 0 and '"ttft_s": {"mean": null' in ended.out


def test_what_does_not_fit_is_said(kvsim_cli: Callable[..., Any]) -> None:
    said = "does not fit: 141.1 GB of weights"
    assert said in kvsim_cli("step", "--hw", "h100", "--model", "llama-3-70b").out
    assert kvsim_cli("roofline", "--hw", "h100", "--model", "llama-3-70b").out.count(said) == 1
    assert "does not fit" not in kvsim_cli(*STEP).out
