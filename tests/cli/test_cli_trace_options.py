"""Every command that reads a trace reads it alike: the same options, the same requests, the same mistakes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

import kvsim
from kvsim.cli import trace_options as shared
from kvsim.cli.main import cli
from kvsim.decide.study import Options as StudyOptions
from kvsim.study.spec import Options as PointOptions
from kvsim.traces import fields, formats
from kvsim.traces.read import DITHERS

Cli = Callable[..., Any]
READERS = (
    "run", "compare", "plan", "trace stats", "trace import", "trace sample", "trace scale", "trace merge",
    "trace convert", "trace fit",
)  # fmt: skip
_NO_POINT = {"out", "timeline", "json", "executor"}  # of `kvsim run`, and not of a study: what it writes, and where


def _command(path: str) -> click.Command:
    command: click.Command = cli
    for name in path.split():
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), name)
        assert found is not None
        command = found
    return command


def _options(path: str) -> dict[str, str | None]:
    """--name -> help."""
    return {one.opts[0]: one.help for one in _command(path).params if isinstance(one, click.Option)}


@shared.trace_options
def _bare() -> None: ...


OURS = {one.opts[0]: one.help for one in click.command()(_bare).params if isinstance(one, click.Option)}


@pytest.mark.parametrize("path", READERS)
def test_one_list_of_options(path: str) -> None:
    found = _options(path)
    assert len(OURS) == 9 and {name: found[name] for name in OURS} == OURS


def test_the_list_names_what_there_is() -> None:
    assert tuple(formats.names()) == shared.FORMATS
    for name in (*fields.UNITS_PER_S, *DITHERS):
        assert name in f"{OURS['--time-unit']} {OURS['--dither']}"


def test_a_study_takes_every_option_of_a_run() -> None:
    ours = {name.removeprefix("--").replace("-", "_") for name in _options("run")} - _NO_POINT
    assert set(PointOptions.model_fields) - {"trace"} == ours


def test_a_comparison_takes_every_option_that_reads() -> None:
    ours = {one.name for one in click.command()(_bare).params}
    assert ours <= set(StudyOptions.__annotations__)


@pytest.fixture
def spans(tmp_path: Path) -> Path:
    """Two requests whose tokens must be counted; 17 and 113 of prompt with a token a character."""
    path = tmp_path / "spans.json"
    made = [
        {
            "trace_id": str(at),
            "start_time": f"2026-02-25T10:00:0{at}",
            "end_time": f"2026-02-25T10:00:0{at + 1}",
            "attributes": {
                "gen_ai.input.messages": [{"role": "user", "content": "x" * many}],
                "gen_ai.output.text": "abc",
            },
        }
        for at, many in enumerate((1, 97, 1))
    ]
    path.write_text(json.dumps({"spans": made}))
    return path


READ = ("--tokenizer", "chars:1", "--max-context", "100", "--json")
LIMITS = ("--slo", "ttft_p99=9s")


def test_all_count_and_drop_alike(kvsim_cli: Cli, spans: Path, tmp_path: Path) -> None:
    run = json.loads(kvsim_cli("run", spans, *READ).out)
    assert (run["requests"]["injected"], run["prompt_tokens"]) == (2, 34)
    stats = json.loads(kvsim_cli("trace", "stats", spans, *READ).out)
    assert (stats["requests"], stats["prompt_tokens"]["total"]) == (2, 34)
    compared = json.loads(kvsim_cli("compare", spans, *READ).out)
    assert compared["requests"] == 2 and set(stats["notes"]) <= set(compared["assumptions"])
    planned = json.loads(kvsim_cli("plan", spans, *LIMITS, *READ).out)
    assert planned["requests"] == 2 and set(stats["notes"]) <= set(planned["assumptions"])
    study = {"name": "s", "base": {"trace": "spans.json", "tokenizer": "chars:1"}, "axes": {"max_context": [100, 200]}}
    (tmp_path / "s.yaml").write_text(json.dumps(study))
    swept = json.loads(kvsim_cli("sweep", tmp_path / "s.yaml", "--out", tmp_path / "s", "--json").out)
    small, all_ = (point["figures"] for point in swept["points"])
    assert {key: small[key] for key in small} == {key: run[key] for key in small}
    assert (all_["requests"]["injected"], all_["prompt_tokens"]) == (3, 147)


def test_blocks_of_a_named_size(kvsim_cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"timestamp": 0, "input_length": 100, "output_length": 5, "hash_ids": [1, 2]}\n')
    for words in (("run",), ("compare",), ("trace", "stats")):
        assert "block" in kvsim_cli(*words, path, "--block-tokens", "7").mistake
        assert kvsim_cli(*words, path, "--block-tokens", "64").code == 0


@pytest.mark.parametrize("words", [("run",), ("compare",), ("plan", *LIMITS), ("trace", "stats")])
@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--tokenizer", "chars:0"), "must be chars: and a number of characters from 1 to 1000"),
        (("--tokenizer", "no/such.json"), "tokenizer no/such.json: no such file"),
        ((), "has text, and no token counts: choose --tokenizer"),
        (("--tokenizer", "chars:1", "--max-context", "1"), "max context must be at least 2 tokens, but got 1"),
        (("--tokenizer", "chars:1", "--max-context", "9"), "all 3 requests have more than 9 tokens"),
        (("--tokenizer", "chars:1", "--block-tokens", "0"), "block tokens must be from 1"),
        (("--format", "otle"), "unknown trace format 'otle': did you mean otel"),
        (("--map", "arrival=a,input=b"), "--map: output is missing"),
        (("--tokenizer", "chars:1", "--dither", "unifrom"), "unknown dither 'unifrom': did you mean uniform"),
    ],
)
def test_the_same_mistakes(
    kvsim_cli: Cli, spans: Path, words: tuple[str, ...], more: tuple[str, ...], message: str
) -> None:
    assert message in kvsim_cli(*words, spans, *more).mistake


def test_generated_requests_have_no_file_to_read(kvsim_cli: Cli) -> None:
    for words in (("run",), ("compare",), ("plan", *LIMITS), ("trace", "stats")):
        for more in (("--tokenizer", "chars:4"), ("--block-tokens", "16")):
            assert "generates its requests" in kvsim_cli(*words, "quickstart", *more).mistake
    figures = kvsim.compare("quickstart", limit=30, max_context=1500, workers=1)
    assert 0 < figures.requests < 30
