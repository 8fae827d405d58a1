"""What an import says unasked: clipped lengths, dropped requests and what that does to hits, block sizes."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from trace_samples import SAMPLES

from kvsim.cli.trace import trace as command
from kvsim.errors import UserError
from kvsim.traces import clipped
from kvsim.traces.context import within
from kvsim.traces.open import open_trace
from kvsim.traces.read import read_trace
from kvsim.traces.trace import Blocks, Sessions, Trace


def _lognormal(rows: int, most: int) -> Any:
    drawn = np.random.default_rng(1).lognormal(5.5, 1.0, rows)
    return np.clip(drawn.astype(np.int64), 1, most)


@pytest.mark.parametrize("most", [500, 2000, 1000])
def test_a_spike_at_the_longest_is_named(most: int) -> None:
    tokens = _lognormal(20_000, most)
    rows, width = clipped.clipped(tokens)
    assert rows == np.count_nonzero(tokens > most - width)
    free = Trace("t", np.zeros(20_000), tokens, _lognormal(20_000, 10**6))
    assert list(clipped.notes(free)) == [
        f"prompts look clipped: {rows:,} of 20,000 have {most:,} tokens, the most"
        + (f", or up to {width - 1} fewer" if width > 1 else "")
    ]


def test_lengths_that_are_not_clipped() -> None:
    rng = np.random.default_rng(2)
    fair = (
        _lognormal(50_000, 10**9),
        rng.integers(1, 11, 5000),
        rng.integers(1, 5000, 5000),
        rng.poisson(300, 5000) + 1,
        np.full(5000, 128),
        rng.choice([1000, 16_000], 5000),
        np.array([7]),
    )
    for tokens in fair:
        assert clipped.clipped(tokens)[0] == 0


def _sessions(parents: list[list[int]], gaps: list[float]) -> Sessions:
    start = np.cumsum([0, *map(len, parents)])
    flat = np.array([one for row in parents for one in row], np.int64)
    return Sessions(np.zeros(len(parents), np.int64), flat, start, np.array(gaps))


def test_long_requests_are_dropped_and_counted() -> None:
    """Row 0 brings in the prefix; rows 1 and 2 are too long, and 3 and 4 wait for what those waited for."""
    prompt = np.array([32, 90, 95, 32, 48])
    blocks = Blocks(np.array([1, 2, 1, 2, 3, 1, 2, 3, 1, 2, 1, 2, 9]), np.array([0, 2, 5, 8, 10, 13]), 16)
    sessions = _sessions([[], [0], [0, 1], [2], [1, 3]], [0.0, 1.0, 2.0, 3.0, 4.0])
    trace = Trace("t", np.arange(5.0), prompt, np.full(5, 8), blocks, ("said",), {"x": 2}, sessions)
    left = within(trace, 60)
    assert left.prompt_tokens.tolist() == [32, 32, 48]
    assert left.dropped == {"x": 2, "over 60 tokens of prompt and output": 2}
    assert left.sessions and left.sessions.gap_s is not None
    assert [left.sessions.parents[a:b].tolist() for a, b in pairwise(left.sessions.start)] == [[], [0], [0, 1]]
    assert left.sessions.gap_s.tolist() == [0, 3, 4]
    hit = "infinite-cache hit 48.5% of prompt tokens with all requests, 57.1% with those left"
    assert left.notes == ("said", f"at most 60 tokens of context: {hit}")
    assert within(trace, 103) is trace
    with pytest.raises(UserError, match="t: all 5 requests have more than 39 tokens of context"):
        within(trace, 39)
    assert within(trace.take(np.arange(1, 5)), 60).arrival_s.tolist() == [0, 1]


def test_files_options_and_workloads_take_a_longest_context(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(SAMPLES["mooncake"].text())
    trace = read_trace(path, max_context=710)
    assert trace.prompt_tokens.tolist() == [700, 30]
    assert "rows dropped: 1 (over 710 tokens of prompt and output)" in trace.notes
    (tmp_path / "w.yaml").write_text("trace: t.jsonl\nmax_context: 710\nblock_tokens: 512")
    assert len(open_trace(tmp_path / "w.yaml")[0]) == 2
    assert len(open_trace(tmp_path / "w.yaml", max_context=100)[0]) == 1
    (tmp_path / "g.yaml").write_text(
        "generate: {requests: 50, arrivals: {rate_per_s: 1}, prompt: {mean: 100, cv: 1}, output: {tokens: 9}}\n"
        "max_context: 100"
    )
    made, _ = open_trace(tmp_path / "g.yaml")
    assert made.dropped == {"over 100 tokens of prompt and output": 50 - len(made)}
    assert 0 < len(made) < 50
    done = CliRunner().invoke(command, ["stats", str(path), "--max-context", "710", "--json"])
    assert json.loads(done.output)["dropped"] == {"over 710 tokens of prompt and output": 1}
    with pytest.raises(UserError, match="max context must be at least 2 tokens, but got 1"):
        read_trace(path, max_context=1)


def test_block_tokens_settle_what_lengths_leave_open(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"timestamp": 0, "input_length": 100, "output_length": 1, "hash_ids": [5]}\n')
    for size in (512, 256, 100, 70):
        found = read_trace(path, block_tokens=size).blocks
        assert found and found.tokens == size
    with pytest.raises(UserError, match=r"t.jsonl:1: a prompt of 100 tokens with 1 hash_ids: expected 7"):
        read_trace(path, block_tokens=16)
    with pytest.raises(UserError, match="block tokens must be from 1 to"):
        read_trace(path, block_tokens=0)
    path.write_text(SAMPLES["bailian"].text())
    with pytest.raises(UserError, match="got 32, but as bailian it has blocks of 16 tokens"):
        read_trace(path, block_tokens=32)
    path.write_text(SAMPLES["azure"].text())
    with pytest.raises(UserError, match="got 32, but as azure it has no block ids"):
        read_trace(path, block_tokens=32)
