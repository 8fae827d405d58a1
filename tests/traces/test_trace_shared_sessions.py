"""Real sessions give the figures published with them. They lie outside the repository: KVSIM_SHARED, or ../shared."""

import os
from pathlib import Path

import numpy as np
import pytest

from kvsim.traces.read import read_trace
from kvsim.traces.trace import Trace

TRACES = Path(os.environ.get("KVSIM_SHARED", "../shared")) / "traces"
WEKA = TRACES / "kv_cache_tester/traces_710_of_739.tar.xz"
pytestmark = pytest.mark.skipif(not TRACES.is_dir(), reason=f"no real traces in {TRACES}: set KVSIM_SHARED")


def hit_ratio(trace: Trace, rows: np.ndarray | None = None) -> float:
    """Share of the prompt tokens of these rows (or all) that an infinite prefix cache would hold."""
    trace = trace if rows is None else trace.take(rows)
    blocks = trace.blocks
    assert blocks
    counts = np.ones_like(blocks.ids) if blocks.counts is None else blocks.counts
    ids, start, counts = blocks.ids.tolist(), blocks.start.tolist(), counts.tolist()
    seen: set[int] = set()
    hits = 0
    for row, prompt in enumerate(trace.prompt_tokens.tolist()):
        found = 0
        for at in range(start[row], start[row + 1]):
            if ids[at] not in seen:
                break
            found += counts[at]
        hits += min(found * blocks.tokens, prompt)
        seen.update(ids[start[row] : start[row + 1]])
    return hits / int(trace.prompt_tokens.sum())


@pytest.fixture(scope="module")
def weka() -> Trace:
    return read_trace(WEKA)


def test_weka_sessions(weka: Trace) -> None:
    trace = weka
    assert len(trace) + 27 == 49_334
    assert trace.dropped == {"0 output tokens": 27}
    quantiles = np.percentile(trace.prompt_tokens, [1, 10, 25, 50, 75, 90, 95, 99])
    published = [16_162, 42_420, 66_519, 103_659, 138_566, 233_633, 300_666, 498_519]  # with the calls without output
    assert quantiles == pytest.approx(published, rel=2e-3)
    assert trace.prompt_tokens.sum() == pytest.approx(6.04e9, rel=2e-3)
    assert trace.output_tokens.sum() == pytest.approx(21.7e6, rel=2e-3)
    assert trace.sessions and trace.blocks and trace.blocks.counts is not None
    assert len(np.unique(trace.sessions.id)) == 710
    assert trace.blocks.tokens == 64
    blocks = np.add.reduceat(trace.blocks.counts, trace.blocks.start[:-1])
    assert (blocks == trace.prompt_tokens // 64).all()
    _, first = np.unique(trace.blocks.ids, return_index=True)
    assert trace.blocks.counts[first].sum() * 64 == pytest.approx(220.9e6, rel=2e-3)  # unique content


def test_weka_hits(weka: Trace) -> None:
    """Contexts (prompt and output) above a limit left out; 32 k leaves 2,836 calls, one of which has no output."""
    trace = weka
    assert hit_ratio(trace) == pytest.approx(0.963, abs=5e-4)
    context = trace.prompt_tokens + trace.output_tokens
    published = {32: (0.799, 2_835), 64: (0.923, None), 128: (0.958, None), 256: (0.963, None)}
    for kilo, (ratio, calls) in published.items():
        rows = np.flatnonzero(context <= kilo * 1024)
        assert hit_ratio(trace, rows) == pytest.approx(ratio, abs=5e-4)
        assert calls in (None, len(rows))


def test_weka_latencies_and_sub_agents(weka: Trace) -> None:
    trace = weka
    assert trace.measured and trace.sessions and trace.sessions.gap_s is not None
    e2e_s = np.nan_to_num(trace.measured.e2e_s)  # published with 0 for the 8.7 % that are missing
    assert np.percentile(e2e_s, [10, 50, 90, 99]) == pytest.approx([2.5, 5.7, 17.4, 58.7], rel=0.01)
    assert np.isnan(trace.measured.e2e_s).mean() == pytest.approx(0.087, abs=5e-4)
    assert np.isnan(trace.measured.ttft_s).mean() == pytest.approx(1 - 0.084, abs=2e-3)
    gaps = trace.sessions.gap_s[np.diff(trace.sessions.start) > 0]
    assert np.percentile(gaps, [10, 50, 75, 90]) == pytest.approx([4, 10, 33, 161], rel=0.04)  # mostly think_time
    assert "63 sub-agents; 57 had ended by the next call, which waits for them" in trace.notes


def test_tracelab_rounds() -> None:
    """The engine reported 92.1 % of tokens as hit: more than an infinite cache over these two sessions alone, because
    their first prompts had been seen elsewhere. Cut at 16 tokens, and with those, prompts' growth says as much."""
    trace = read_trace(TRACES / "tracelab/round_trace.jsonl")
    assert trace.sessions and trace.measured
    assert len(trace) == 19
    assert np.bincount(trace.sessions.id).tolist() == [10, 9]
    assert trace.notes[0].endswith(
        "15 later turns share the prompt and output before them, 2 are shorter and start anew, 2 of them after what "
        "the source says was shared"
    )
    assert hit_ratio(trace) == pytest.approx(0.877, abs=5e-4)
    assert trace.notes[1] == "infinite-cache hit 87.7% of prompt tokens, 89.7% where outputs are found again as well"
    elsewhere = 27_217 + 6_912
    assert trace.notes[2].startswith(f"{elsewhere:,} tokens that first turns shared")
    assert 0.921 <= 0.897 + elsewhere / trace.prompt_tokens.sum() < 0.97
    assert (trace.measured.e2e_s > 1).all()


def test_tracelab_csv() -> None:
    trace = read_trace(TRACES / "tracelab/multi_session_large.csv")
    assert trace.sessions and not trace.sessions.timed
    assert len(trace) == 303
    assert len(np.unique(trace.sessions.id)) == 48
    assert "255 later turns share the prompt and output before them, 0 are shorter" in trace.notes[0]
    assert trace.notes[1].endswith(
        "81.5% where outputs are found again as well"
    )  # planned 81.7 %, here in whole blocks


def test_spans_of_inference_perf() -> None:
    """Only texts, so that counts are rough; who waits for whom is not."""
    folder = TRACES / "inference_perf_otel"
    traces = {path.stem: read_trace(path, tokenizer="chars:4") for path in folder.glob("*.json")}
    assert {name: len(trace) for name, trace in traces.items()} == {
        "simple_chain": 3,
        "fan_in_dependencies": 4,
        "parallel_requests": 5,
        "prefix_sharing_example": 7,
    }
    waits = {}
    for name, trace in traces.items():
        assert trace.sessions
        waits[name] = np.split(trace.sessions.parents, trace.sessions.start[1:-1])
    assert [found.tolist() for found in waits["simple_chain"]] == [[], [0], [1]]
    assert [found.tolist() for found in waits["fan_in_dependencies"]] == [[], [0], [0], [1, 2]]
    assert [found.tolist() for found in waits["parallel_requests"]] == [[], [0], [0], [1, 2], [3]]
    assert len(read_trace(folder, tokenizer="chars:4")) == 19
