"""Arrival processes and generators of shared prefixes: their statistics, what they share, and that seeds fix them."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from test_trace_sessions import same

from kvsim.cli.trace_tools import trace as command
from kvsim.errors import UserError
from kvsim.specs.load import build
from kvsim.traces.arrivals import arrival_parts, curve_points, weibull_shape
from kvsim.traces.blocks import held_blocks, one_by_one
from kvsim.traces.generate import generate, parts
from kvsim.traces.laws import Arrivals, Curve
from kvsim.traces.read import read_trace
from kvsim.traces.stats import infinite_cache_hits
from kvsim.traces.trace import Trace
from kvsim.traces.workload import Generate
from kvsim.traces.write import write_parts, write_trace

FIXED = {"tokens": 7}
SPREAD = {"mean": 200.0, "cv": 1.0}
POISSON = {"process": "poisson", "rate_per_s": 3.0}
CURVE = {"period_s": 600.0, "rate_per_s": 5.0, "amplitude": 1.0, "peak_s": 100.0}
STATES = [{"rate_per_s": 1.0, "dwell_mean_s": 30.0}, {"rate_per_s": 0.0, "dwell_mean_s": 5.0}]
STATES += [{"rate_per_s": 40.0, "dwell_mean_s": 4.0}]
AGENTS = {
    "runs_per_s": 0.2,
    "system_tokens": 300,
    "message": SPREAD,
    "result": SPREAD,
    "output": SPREAD,
    "subagent_share": 0.3,
    "compact_at": 3000,
    "compact_to": 500,
}
RAG = {"arrivals": POISSON, "corpus": 50, "chunks": 3, "chunk_tokens": 100, "question": SPREAD, "answer": SPREAD}
PLAIN = {"arrivals": POISSON, "prompt": SPREAD, "output": SPREAD}
SPECS: dict[str, dict[str, Any]] = {
    "weibull": {**PLAIN, "arrivals": {"process": "weibull", "rate_per_s": 2.0, "cv": 3.0}},
    "shape": {**PLAIN, "arrivals": {"process": "gamma", "rate_per_s": 2.0, "shape": 0.2}},
    "diurnal": {**PLAIN, "arrivals": {"process": "poisson", "curve": CURVE}},
    "bursts of a day": {**PLAIN, "arrivals": {"process": "gamma", "cv": 2.0, "curve": CURVE}},
    "mmpp": {**PLAIN, "arrivals": {"process": "mmpp", "states": STATES}},
    "quantiles": {**PLAIN, "prompt": {"quantiles": [1.0, 10.0, 500.0]}},
    "prefixes": {**PLAIN, "prefixes": {"groups": 20, "tokens": SPREAD, "share": 0.8}},
    "agents": {"agents": AGENTS},
    "rag": {"rag": RAG},
    "rag sorted": {"rag": {**RAG, "order": "sorted", "zipf": 2.5, "corpus": 4}},
}


def _make(seed: int = 0, requests: int = 100, **spec: object) -> Trace:
    return generate(build(Generate, {"requests": requests, **spec}, "test"), seed)


def _moments(count: int, **arrivals: object) -> np.ndarray:
    spec = build(Arrivals, arrivals, "test")
    return np.concatenate(list(arrival_parts(spec, count, np.random.default_rng(3))))


@pytest.mark.parametrize("name", SPECS)
def test_same_seed_same_trace_and_fewer_requests_are_the_first_of_more(name: str) -> None:
    whole = _make(5, 400, **SPECS[name])
    assert len(whole) == 400
    assert whole.arrival_s[0] == 0
    assert (np.diff(whole.arrival_s) >= 0).all()
    assert same(whole, _make(5, 400, **SPECS[name]))
    assert not same(whole, _make(6, 400, **SPECS[name]))
    assert same(whole.head(130), _make(5, 130, **SPECS[name]))


@pytest.mark.parametrize("name", [name for name in SPECS if name not in ("agents", "rag", "rag sorted", "prefixes")])
def test_parts_are_the_whole(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = _make(5, 1000, **SPECS[name])
    monkeypatch.setattr("kvsim.traces.arrivals.ROWS", 77)
    spec = build(Generate, {"requests": 1000, **SPECS[name]}, "test")
    pieces = list(parts(spec, 5, "p"))
    assert [len(piece) for piece in pieces] == [77] * 12 + [76]
    for key in ("arrival_s", "prompt_tokens", "output_tokens"):
        assert np.array_equal(np.concatenate([getattr(piece, key) for piece in pieces]), getattr(whole, key))
    for suffix in ("csv", "jsonl.gz"):
        assert write_parts(pieces, tmp_path / f"parts.{suffix}") == 1000
        write_trace(whole, tmp_path / f"whole.{suffix}")
        assert (tmp_path / f"parts.{suffix}").read_bytes() == (tmp_path / f"whole.{suffix}").read_bytes()


@pytest.mark.parametrize("cv", [0.3, 1.0, 2.5])
def test_weibull_gaps(cv: float) -> None:
    gaps = np.diff(_moments(400_000, process="weibull", rate_per_s=4.0, cv=cv))
    assert gaps.mean() == pytest.approx(0.25, rel=6 * cv / math.sqrt(len(gaps)))
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.03)
    assert weibull_shape(1.0) == pytest.approx(1.0)


def test_a_curve_has_its_rate_at_every_hour() -> None:
    """Counts by tenths of the period follow the integral of the rate, within five standard deviations."""
    moments = _moments(300_000, process="poisson", curve=CURVE)
    time_s, rates = curve_points(build(Curve, CURVE, "test"))
    tenth = np.floor(moments % 600 / 60).astype(int)
    periods = moments[-1] / 600
    for at in range(10):
        inside = (time_s >= 60 * at) & (time_s <= 60 * (at + 1))
        expected = np.trapezoid(rates[inside], time_s[inside]) * periods
        assert np.count_nonzero(tenth == at) == pytest.approx(
            expected, abs=5 * math.sqrt(expected) + expected / periods
        )


def test_points_and_empty_hours() -> None:
    points = [[0.0, 4.0], [100.0, 4.0], [100.001, 0.0], [300.0, 0.0], [300.001, 8.0], [399.0, 8.0]]
    curve = {"period_s": 400.0, "points": [tuple(point) for point in points]}
    moments = _moments(50_000, process="poisson", curve=curve) % 400
    assert not ((moments > 100.01) & (moments < 299.99)).any()
    early, late = np.count_nonzero(moments < 100), np.count_nonzero(moments > 300)
    assert late / early == pytest.approx(2.0, rel=0.05)


def test_states_have_their_shares() -> None:
    """The mean rate is the dwell-weighted mean of the rates; counts vary more than a Poisson process's."""
    moments = _moments(400_000, process="mmpp", states=STATES)
    mean = (1.0 * 30 + 40.0 * 4) / (30 + 5 + 4)
    assert len(moments) / moments[-1] == pytest.approx(mean, rel=0.05)
    counts = np.bincount((moments // 10).astype(int))
    assert counts.var() / counts.mean() > 5
    single = _moments(100_000, process="mmpp", states=[{"rate_per_s": 2.0, "dwell_mean_s": 1.0}])
    assert np.diff(single).std() / np.diff(single).mean() == pytest.approx(1.0, rel=0.02)


def test_quantiles() -> None:
    prompt = _make(requests=100_000, arrivals=POISSON, prompt={"quantiles": [10.0, 20.0, 120.0]}, output=FIXED)
    tokens = prompt.prompt_tokens
    assert (tokens.min(), tokens.max()) == (10, 120)
    assert np.percentile(tokens, [25, 50, 75]) == pytest.approx([15, 20, 70], abs=1)


def _rows(trace: Trace) -> list[list[int]]:
    assert trace.blocks
    blocks = one_by_one(trace.blocks)
    return [blocks.ids[a:b].tolist() for a, b in pairwise(blocks.start.tolist())]


@pytest.mark.parametrize("name", ["prefixes", "agents", "rag", "rag sorted"])
def test_ids_are_chained_and_cover_the_prompt(name: str) -> None:
    trace = _make(2, 300, **SPECS[name])
    assert trace.blocks
    assert (held_blocks(trace.blocks) == trace.prompt_tokens // trace.blocks.tokens).all()
    behind: dict[int, tuple[int, ...]] = {}
    for row in _rows(trace):
        for at, block in enumerate(row):
            assert behind.setdefault(block, tuple(row[:at])) == tuple(row[:at])
    sizes: dict[int, int] = {}
    counts = trace.blocks.counts
    assert counts is not None
    for run, count in zip(trace.blocks.ids.tolist(), counts.tolist(), strict=True):
        assert sizes.setdefault(run, count) == count  # every request has a run whole


def test_prefix_groups_by_zipf() -> None:
    tokens = {"tokens": 64}
    trace = _make(
        requests=20_000, arrivals=POISSON, prompt=FIXED, output=FIXED, prefixes={"groups": 3, "tokens": tokens}
    )
    assert trace.blocks
    groups = trace.blocks.ids[trace.blocks.start[:-1]]
    shares = np.bincount(groups)[1:4] / len(trace)
    assert shares == pytest.approx(np.array([6, 3, 2]) / 11, abs=0.02)
    assert set(trace.prompt_tokens.tolist()) == {71}


def test_agents_are_trees_that_join() -> None:
    trace = _make(1, 2000, agents=AGENTS)
    sessions = trace.sessions
    assert sessions and sessions.gap_s is not None and not sessions.timed
    waits = np.diff(sessions.start)
    assert waits.max() > 1  # a join
    child = np.repeat(np.arange(len(trace)), waits)
    assert (sessions.parents < child).all()
    assert (sessions.id[sessions.parents] == sessions.id[child]).all()
    fan = np.bincount(sessions.parents)
    assert fan.max() > 1  # a fan-out
    assert trace.prompt_tokens.max() <= 3000
    chain = trace.prompt_tokens[child] - trace.prompt_tokens[sessions.parents]
    assert (chain < 0).any()  # compacted, or a sub-agent's fresh context
    assert (waits == 0).sum() == len(np.unique(sessions.id))
    assert (sessions.gap_s[waits == 0] == 0).all()


def test_order_decides_what_retrieval_reuses() -> None:
    """Sorted chunks share prefixes where permuted ones do not: fewer different prefixes, more hits."""
    ratios = {}
    for order in ("permuted", "sorted"):
        trace = _make(3, 3000, rag={**RAG, "chunk_tokens": 160, "zipf": 1.2, "order": order})
        hits = infinite_cache_hits(trace)
        assert hits
        ratios[order] = hits.block_ratio
        firsts = [row[16] for row in _rows(trace)]  # behind 256 / 16 blocks of the system prompt
        assert len(set(firsts)) <= 50
    assert ratios["sorted"] > ratios["permuted"]


def test_chunks_are_different_ones() -> None:
    """A corpus of 4 under a steep law: all 4 chunks are in every prompt, in every order."""
    trace = _make(3, 2000, rag={**RAG, "corpus": 4, "chunks": 4, "zipf": 3.0, "chunk_tokens": 16, "system_tokens": 0})
    assert len({tuple(row[:4]) for row in _rows(trace)}) == 24


@pytest.mark.parametrize(
    ("arrivals", "message"),
    [
        ({"process": "weibull", "rate_per_s": 1.0}, "needs cv or shape"),
        ({"process": "gamma", "rate_per_s": 1.0, "cv": 1.0, "shape": 2.0}, "takes one of cv and shape"),
        ({"process": "mmpp"}, "needs states"),
        ({"process": "mmpp", "states": STATES, "rate_per_s": 1.0}, "takes no rate_per_s"),
        ({"process": "mmpp", "states": [STATES[1]]}, "above 0"),
        ({"process": "poisson", "rate_per_s": 1.0, "curve": CURVE}, "takes one of rate_per_s and curve"),
        ({"process": "poisson", "curve": {"period_s": 10.0}}, "needs either points or amplitude"),
        ({"process": "poisson", "curve": {"points": [(1.0, 1.0)]}}, "must begin at 0 s"),
        ({"process": "poisson", "curve": {"points": [(0.0, 0.0)]}}, "at least 0, one of them"),
    ],
)
def test_bad_arrivals(arrivals: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(Arrivals, arrivals, "test")


def test_command_line_of_processes(tmp_path: Path) -> None:
    def run(*words: str) -> Trace:
        out = tmp_path / "made.csv"
        done = CliRunner().invoke(command, ["generate", "--out", str(out), *words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return read_trace(out)

    assert len(run("--process", "weibull", "--cv", "2", "--requests", "50")) == 50
    assert len(run("--process", "diurnal", "--rate", "2", "--period", "1 h", "--requests", "50")) == 50
    assert len(run("--process", "mmpp", "--state", "1:60", "--state", "20:5", "--requests", "50")) == 50
    for words, message in (
        (("--process", "mmpp"), "needs states"),
        (("--process", "mmpp", "--state", "3"), "must be RATE:SECONDS"),
        (("--process", "poisson", "--state", "3:4"), "is for --process mmpp"),
        (("--process", "mmpp", "--state", "3:4", "--rate", "2"), "the rates of mmpp"),
    ):
        with pytest.raises(UserError, match=message):
            run(*words)
