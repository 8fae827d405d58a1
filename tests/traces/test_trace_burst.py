"""Burstiness, sessions, reuse distances: by hand, against plain loops, against published figures; and their plots."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from kvsim.cli.trace_tools import trace as command
from kvsim.errors import UserError
from kvsim.specs.load import build
from kvsim.traces.burst import burstiness, session_figures
from kvsim.traces.generate import generate
from kvsim.traces.plots import draw
from kvsim.traces.read import read_trace
from kvsim.traces.reuse_distance import percentiles, reuse, weight_below
from kvsim.traces.stats import stats
from kvsim.traces.trace import Blocks, Sessions, Trace, starts
from kvsim.traces.workload import Generate

TRACES = Path(os.environ.get("KVSIM_SHARED", "../shared")) / "traces"
real = pytest.mark.skipif(not TRACES.is_dir(), reason=f"no real traces in {TRACES}: set KVSIM_SHARED")
quick = settings(max_examples=60, deadline=None, database=None)


def _trace(arrival_s: list[float], rows: list[list[int]] | None = None, size: int = 4) -> Trace:
    count = len(arrival_s)
    lengths = np.array([len(row) for row in rows]) if rows else np.ones(count, np.int64)
    blocks = Blocks(np.array([i for row in rows for i in row], np.int64), starts(lengths), size) if rows else None
    return Trace("t", np.array(arrival_s, float), np.maximum(lengths * size, 1), np.full(count, 3), blocks)


def test_counts_by_hand() -> None:
    """Counts 3, 0, 1 in three seconds: mean 4/3, variance 14/9."""
    figures = burstiness(_trace([0.0, 0.2, 0.9, 2.5]))
    second = figures["per_second"]
    assert (second["intervals"], second["most"]) == (3, 3)
    assert second["peak_to_mean"] == pytest.approx(9 / 4)
    assert second["dispersion"] == pytest.approx(14 / 9 / (4 / 3))
    assert second["empty_share"] == pytest.approx(1 / 3)
    assert figures["per_minute"]["dispersion"] is None


def test_poisson_has_a_dispersion_of_one() -> None:
    spec = {"requests": 100_000, "arrivals": {"rate_per_s": 5.0}, "prompt": {"tokens": 1}, "output": {"tokens": 1}}
    figures = burstiness(generate(build(Generate, spec, "test")))
    assert figures["per_second"]["dispersion"] == pytest.approx(1, abs=0.05)


def test_sessions_by_hand() -> None:
    """Two sessions, 0..6 s and 4..5 s: both are open for 1 s of 6; request 3 waits for two."""
    sessions = Sessions(
        np.array([0, 0, 1, 0, 1]), np.array([0, 0, 1, 2]), np.array([0, 0, 1, 1, 3, 4]), np.array([0, 1.0, 0, 2.0, 9.0])
    )
    trace = Trace(**{**vars(_trace([0.0, 2.0, 4.0, 6.0, 5.0])), "sessions": sessions})
    figures = session_figures(trace)
    assert figures
    assert (figures["sessions"], figures["joins"], figures["fan_outs"]) == (2, 1, 1)
    assert figures["turns"]["mean"] == 2.5
    assert figures["gap_s"]["max"] == 9.0
    assert figures["open_at_once"] == {"mean": pytest.approx(7 / 6), "most": 2.0}
    assert session_figures(_trace([0.0])) is None


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 5)), min_size=1, max_size=40),
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 11)), min_size=1, max_size=20),
)
@quick
def test_sums_below_equal_a_plain_loop(pairs: list[tuple[int, int]], queries: list[tuple[int, int]]) -> None:
    values, weights = (np.array(column) for column in zip(*pairs, strict=True))
    ends, limits = (np.array(column) for column in zip(*queries, strict=True))
    ends = np.minimum(ends, len(values))
    expected = [sum(w for v, w in pairs[:end] if v <= limit) for end, limit in zip(ends, limits, strict=True)]
    assert weight_below(values, weights.astype(float), ends, limits).tolist() == expected


@given(st.lists(st.lists(st.integers(0, 12), max_size=5, unique=True), min_size=21, max_size=40))
@quick
def test_distances_equal_a_plain_loop(rows: list[list[int]]) -> None:
    trace = _trace([float(i) for i in range(len(rows))], rows)
    found = reuse(trace)
    assert found
    uses = [(owner, block) for owner, row in enumerate(rows) for block in row]
    last: dict[int, int] = {}
    expected = []
    for at, (owner, block) in enumerate(uses):
        if block in last and sum(other == block for _, other in uses) <= 0.1 * len(rows):
            between = {other for _, other in uses[last[block] + 1 : at]}
            expected.append((float(owner - uses[last[block]][0]), 4.0 * len(between)))
        last[block] = at
    assert list(zip(found.interval_s.tolist(), found.distance_tokens.tolist(), strict=True)) == expected


@real
def test_azure_is_bursty_as_published() -> None:
    figures = stats(read_trace(TRACES / "azure_llm_2023/AzureLLMInferenceTrace_code.csv"))
    assert figures["per_minute"]["most"] == 632
    assert figures["per_minute"]["empty_share"] > 0
    assert figures["per_minute"]["peak_to_mean"] == pytest.approx(4.16, abs=0.005)
    assert figures["per_second"]["dispersion"] == pytest.approx(13.2, abs=0.05)
    assert figures["interarrival_cv"] == pytest.approx(13.15, abs=0.005)
    assert figures["reuse"] is figures["sessions"] is None


@real
def test_mooncake_reuses_as_published() -> None:
    """Intervals without id 0; and an LRU cache's hits follow from the distances, with id 0 always in it."""
    trace = read_trace(TRACES / "mooncake_fast25/conversation_trace.jsonl.gz")
    found = reuse(trace)
    assert found
    assert found.left_out == 1
    figures = percentiles(found.interval_s)
    expected = {"p10": 45, "p50": 135, "p75": 291, "p90": 531, "p95": 645, "p99": 1710}
    assert {key: round(figures[key]) for key in expected} == expected
    total, common = trace.prompt_tokens.sum(), 512 * len(trace)
    for blocks, share in ((10_000, 0.216), (30_000, 0.332), (100_000, 0.371)):
        kept = found.use_tokens[found.distance_tokens < blocks * 512].sum()
        assert (kept + common) / total == pytest.approx(share, abs=0.002)


def test_plots(tmp_path: Path) -> None:
    made = CliRunner().invoke(command, ["stats", "conversations", "--plots", str(tmp_path / "plots"), "--json"])
    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout)["reuse"]["uses"] > 100
    names = ["arrivals.png", "lengths.png", "reuse.png"]
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == names
    pictures = [(tmp_path / "plots" / name).read_bytes() for name in names]
    assert all(data.startswith(b"\x89PNG") and len(data) > 5000 for data in pictures)


def test_plots_of_a_tiny_trace(tmp_path: Path) -> None:
    assert draw(_trace([0.0]), tmp_path / "one") == ["arrivals.png", "lengths.png"]
    assert (
        draw(_trace([0.0] * 30, [[1, 2], [1, 2]] + [[i + 9] for i in range(28)]), tmp_path / "two")[-1] == "reuse.png"
    )
    first = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    draw(_trace([0.0]), tmp_path / "one")
    assert {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()} == first
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be made as a folder"):
        draw(_trace([0.0]), tmp_path / "file")
