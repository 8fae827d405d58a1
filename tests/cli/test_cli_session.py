"""`kvsim step --phase session`: one table of the four costs."""

import json
from collections.abc import Callable
from typing import Any

SESSION = ("step", "--hw", "a100-80", "--model", "yi-34b", "--phase", "session", "--context", "4000,50000")


def test_a_row_for_each_policy_and_context(kvsim_cli: Callable[..., Any]) -> None:
    out = kvsim_cli(*SESSION, "--policy", "full,kivi").out
    assert all(len(line) <= 96 for line in out.splitlines())
    assert out.startswith("a session of yi-34b on a100-80: a prompt, then an answer of 250 tokens\n")
    assert [line.split()[:2] for line in out.splitlines()[4:8]] == [
        ["full", "4,000"], ["kivi", "4,000"], ["full", "50,000"], ["kivi", "50,000"]
    ]  # fmt: skip
    assert "against full, expected" in out and "0.19 x" in out
    assert "against" not in kvsim_cli(*SESSION).out


def test_json(kvsim_cli: Callable[..., Any]) -> None:
    found = json.loads(kvsim_cli(*SESSION, "--policy", "full,headinfer", "--generated", "10", "--json").out)
    assert found["answer_tokens"] == 10 and len(found["rows"]) == 4
    assert found["rows"][0].keys() == {"policy", "context", "cache_bytes", "peak", "expected"}
    assert found["rows"][0]["peak"].keys() == {"sessions", "prefill_s", "decode_s", "switch_s"}


def test_mistakes(kvsim_cli: Callable[..., Any]) -> None:
    assert "--context must be a whole number, or a list" in kvsim_cli(*SESSION[:-1], "4k").mistake
    step = ("step", "--hw", "h100", "--model", "llama-3-8b", "--context", "100,200")
    assert "--context: a decode step has one, but got 100,200; --phase session takes a list" in kvsim_cli(*step).mistake
    assert (
        "leaves no room for a cache on h100"
        in kvsim_cli(*SESSION[:2], "h100", "--model", "llama-3-70b", *SESSION[5:]).mistake
    )
