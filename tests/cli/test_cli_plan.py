"""`kvsim plan` as a command: mistakes, JSON, text."""

import json
from collections.abc import Callable
from typing import Any

import pytest

QUICK = ("plan", "quickstart", "--limit", "60")
SLO = ("--slo", "ttft_p99=900ms")
WORDS = (*QUICK, *SLO, "--hw", "l40s,rtx4090", "--policy", "full")
MISTAKES: list[tuple[tuple[str, ...], str]] = [
    (("plan", *SLO), "missing argument 'TRACE'"),
    (QUICK, "missing option '--slo'"),
    ((*QUICK, "--slo", "ttft=2s"), "slo: unknown figure 'ttft': did you mean ttft_p"),
    ((*QUICK, "--slo", "latency=2s"), "slo: unknown figure 'latency'; there are: e2e_mean, e2e_p50"),
    ((*QUICK, "--slo", "ttft_p99=2"), "ttft_p99 must have a unit of s"),
    ((*QUICK, *SLO, "--hw", "h10"), "unknown hw 'h10'"),
    ((*QUICK, *SLO, "--rate", "0"), "rate must be more than 0"),
    ((*QUICK, *SLO, "--rate", "nan"), "rate must be more than 0"),
    ((*QUICK, *SLO, "--rate", "1e12"), "within a million times the trace's own"),
    ((*QUICK, *SLO, "--by", "usd_per_token"), "by: unknown key 'usd_per_token': did you mean usd_per_mtok"),
    ((*QUICK, *SLO, "--replicas-max", "0"), "replicas-max must be at least 1"),
    ((*QUICK, *SLO, "--loop", "closed"), "has no sessions"),
    (("plan", "quickstart", "--limit", "1", *SLO), "all requests begin at once"),
    ((*QUICK, *SLO, "--concurrency", "3"), "unknown option '--concurrency'"),
]


@pytest.mark.parametrize(("words", "message"), MISTAKES)
def test_mistakes(kvsim_cli: Callable[..., Any], words: tuple[str, ...], message: str) -> None:
    assert message in kvsim_cli(*words).mistake


def test_json(kvsim_cli: Callable[..., Any]) -> None:
    ended = kvsim_cli(*WORDS, "--json")
    assert ended.code == 0 and ended.err == ""
    found = json.loads(ended.out)
    assert {"trace", "slos", "unit", "own_rate_per_s", "rate_per_s", "rows", "says", "sensitivity", "wall_s"} <= set(
        found
    )
    assert found["slos"] == [{"key": "ttft_p99", "limit_s": 0.9}]
    row = found["rows"][0]
    assert {"goodput", "goodput_per_s", "copies", "gpus", "usd_per_mtok", "joules_per_token", "bound"} <= set(row)
    assert row["goodput"]["under"]["figures"]["ttft_p99"] <= 0.9 < row["goodput"]["over"]["figures"]["ttft_p99"]


def test_text(kvsim_cli: Callable[..., Any]) -> None:
    ended = kvsim_cli(*WORDS, "--sensitivity")
    assert ended.code == 0
    for part in ("goodput of one machine", "just under and just over it", "what would change the answer", "assumed"):
        assert part in ended.out
