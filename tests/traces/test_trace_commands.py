"""`kvsim trace import | stats | generate`, by their command lines."""

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from kvsim.cli.trace_tools import trace
from kvsim.errors import UserError
from kvsim.traces.read import parse_columns, read_trace


def _run(*words: object) -> Result:
    return CliRunner().invoke(trace, [str(word) for word in words], catch_exceptions=True)


def _fails(*words: object) -> str:
    result = _run(*words)
    assert isinstance(result.exception, UserError), result.output
    return str(result.exception)


def test_stats_prints_one_json_object() -> None:
    result = _run("stats", "conversations", "--json")
    assert result.exit_code == 0
    figures = json.loads(result.stdout)
    assert figures["requests"] == 1000
    assert figures["block_tokens"] == 512
    assert 0 < figures["hit_ratio_tokens"] < 1
    assert result.stderr == ""


def test_stats_table_names_what_was_assumed() -> None:
    out = _run("stats", "conversations").stdout
    for words in (
        "requests",
        "1,000",
        "inter-arrival CV",
        "clock tick",
        "rows dropped",
        "infinite-cache hit",
        "- block size",
    ):
        assert words in out


def test_stats_of_caches() -> None:
    words = ("stats", "conversations", "--cache", "100, 2022", "--eviction", "belady,succinct:accuracy=1,lru")
    figures = json.loads(_run(*words, "--json").stdout)
    curve = figures["cache"]
    assert (curve["block_tokens"], curve["capacity_blocks"], curve["left_out"]) == (512, [100, 2022], [])
    assert curve["infinite_hit_ratio_tokens"] == figures["hit_ratio_tokens"]
    ratios = curve["hit_ratio_tokens"]
    assert list(ratios) == ["belady", "succinct:accuracy=1", "lru"]
    assert ratios["lru"][0] < ratios["belady"][0] == ratios["succinct:accuracy=1"][0] < figures["hit_ratio_tokens"]
    assert all(points[1] == figures["hit_ratio_tokens"] for points in ratios.values())  # all blocks fit
    table = _run(*words).stdout.splitlines()
    heading = next(number for number, line in enumerate(table) if line.endswith("2,022") and "of 512" in line)
    rows = [line.split() for line in table[heading + 1 : heading + 5]]
    assert [row[0] for row in rows] == ["succinct:accuracy=1", "lru", "belady", "infinite"]
    assert [row[-1] for row in rows] == ["79.2%"] * 4


def test_caches_of_a_trace_without_sessions() -> None:
    out = _run("stats", "conversations", "--cache", "100").stdout
    assert "- left out: sessions expected soonest stay (session-aware): the trace has no" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--cache", "1000,x"), "--cache: capacities are whole numbers of blocks, such as 1000,10000, but got 'x'"),
        (("--cache", "0"), "but got '0'"),
        (("--cache", "1,,2"), "but got ''"),
        (("--cache", "1" * 30), "but got '111"),
        (("--cache", "5,7,5"), "--cache: 5 is given twice"),
        (("--eviction", "lru"), "--eviction: is of --cache"),
        (("--cache", "5", "--eviction", "lru,lru"), "--eviction: lru is given twice"),
        (("--cache", "5", "--eviction", "lfru"), "unknown eviction 'lfru': did you mean"),
        (("--cache", "5", "--eviction", "lru:k=2"), "unknown parameter 'k'"),
        (("--cache", "5", "--eviction", "session-aware"), "needs sessions"),
    ],
)
def test_mistakes_of_caches(words: tuple[str, ...], message: str) -> None:
    assert message in _fails("stats", "conversations", *words)


def test_caches_need_blocks() -> None:
    assert "has no block ids" in _fails("stats", "quickstart", "--limit", "5", "--cache", "10")


def test_stats_of_a_workload_without_blocks() -> None:
    out = _run("stats", "quickstart", "--limit", "5").stdout
    assert "nothing is known of shared prefixes" in out


def test_import_then_read_back(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("t,in,out\n1000,5,6\n3500,7,8\n")
    out = tmp_path / "log.jsonl.gz"
    mapping = "arrival=t, input=in,output=out"
    result = _run("import", tmp_path / "log.csv", "--map", mapping, "--time-unit", "ms", "--out", out)
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "2 requests" in result.stderr
    assert read_trace(out).arrival_s.tolist() == [0.0, 2.5]


def test_generate_from_options_and_from_a_workload(tmp_path: Path) -> None:
    out = tmp_path / "made.csv"
    assert _run("generate", "--requests", 50, "--rate", 2, "--seed", 3, "--out", out).exit_code == 0
    first = out.read_bytes()
    assert len(read_trace(out)) == 50
    assert _run("generate", "--requests", 50, "--rate", 2, "--seed", 3, "--out", out).exit_code == 0
    assert out.read_bytes() == first
    assert _run("generate", "quickstart", "--out", out).exit_code == 0
    assert len(read_trace(out)) == 500
    words = ("--process", "gamma", "--cv", 2, "--requests", 20, "--lengths-from", out)
    assert _run("generate", *words, "--out", tmp_path / "more.jsonl").exit_code == 0
    assert len(read_trace(tmp_path / "more.jsonl")) == 20


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("stats", "nosuch"), "unknown workload or trace file"),
        (("stats", "quickstart", "--format", "azure"), "generates its requests"),
        (("import", "quickstart", "--out", "x.txt"), "must end in"),
        (("import", "quickstart", "--out", "x.csv", "--as", "mooncake"), "cannot hold block ids"),
        (("import", "quickstart", "--out", "x.jsonl", "--as", "moon"), "unknown layout 'moon': did you mean mooncake"),
        (("generate", "--rate", "-1", "--out", "x.csv"), "rate_per_s"),
        (("generate", "--rate", "nan", "--out", "x.csv"), "rate_per_s"),
        (("generate", "--requests", "0", "--out", "x.csv"), "requests"),
        (("generate", "--seed", "-1", "--out", "x.csv"), "seed"),
        (("generate", "quickstart", "--rate", "1", "--out", "x.csv"), "--rate: give either a YAML or options"),
        (("generate", "conversations", "--out", "x.csv"), "to convert a trace use"),
        (("generate", "--lengths-from", "a.csv", "--prompt-mean", "3", "--out", "x.csv"), "sets all lengths already"),
    ],
)
def test_mistakes(words: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in _fails(*words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be KEY=COLUMN"),
        ("arrival=t", "input is missing"),
        ("arrival=t,input=", "must be KEY=COLUMN"),
        ("arrival=t,arrival=u", "given twice"),
        ("arival=t,input=i,output=o", "did you mean arrival"),
    ],
)
def test_bad_maps(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_columns(text)


@pytest.mark.parametrize("command", [trace, *trace.commands.values()], ids=lambda command: str(command.name))
def test_help_has_an_example_and_says_what_each_option_does(command: click.Command) -> None:
    assert "kvsim trace" in (command.help or "")
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, option.name
