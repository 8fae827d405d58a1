"""Sampled, scaled and merged traces keep what ties requests together."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from test_trace_columns import traces
from test_trace_sessions import same

from kvsim.cli.trace_tools import trace as command
from kvsim.errors import UserError
from kvsim.specs.load import build
from kvsim.traces.blocks import held_blocks, one_by_one, split
from kvsim.traces.generate import generate
from kvsim.traces.merge import merge
from kvsim.traces.read import read_trace
from kvsim.traces.sample import families, sample, units
from kvsim.traces.scale import scale
from kvsim.traces.stats import infinite_cache_hits, leading_seen
from kvsim.traces.trace import Blocks, Measured, Sessions, Trace, starts
from kvsim.traces.workload import Generate
from kvsim.traces.write import write_trace

quick = settings(max_examples=60, deadline=None, database=None)


def _chats(count: int = 600, seed: int = 0) -> Trace:
    spec = {
        "chats_per_s": 1.0,
        "system_tokens": 64,
        "system_prompts": 1,
        "block_tokens": 64,
        "message": {"mean": 200.0, "cv": 1.0},
        "answer": {"mean": 50.0, "cv": 1.0},
    }
    made = generate(build(Generate, {"requests": count, "conversations": spec}, "test"), seed, "chats")
    return replace(made, sessions=None)


def _with_sessions(trace: Trace, size: int = 3) -> Trace:
    """Rows i, i + size', i + 2 size', ... are a session, each waiting for the one before."""
    count = len(trace)
    apart = -(-count // size)
    session = np.arange(count) % apart
    parents = np.arange(apart, count) - apart
    start = starts((np.arange(count) >= apart).astype(np.int64))
    gap_s = np.where(np.arange(count) >= apart, 2.0, 0.0)
    return Trace(**{**vars(trace), "sessions": Sessions(session, parents, start, gap_s)})


def _hit(trace: Trace) -> float:
    hits = infinite_cache_hits(trace)
    assert hits
    return hits.token_ratio


def test_a_sample_has_whole_sessions() -> None:
    whole = _with_sessions(_chats())
    part = sample(whole, number=40, seed=1)
    assert part.sessions
    assert len(np.unique(part.sessions.id)) == 40
    assert len(part) == 120
    assert len(part.sessions.parents) == 80  # nobody lost a parent
    assert part.arrival_s[0] == 0
    assert any("sample: 40 of 200 sessions, 120 of 600 requests" in note for note in part.notes)


def test_families_share_only_common_blocks() -> None:
    whole = _chats()
    assert whole.blocks
    family = families(whole)
    owner = np.repeat(np.arange(len(whole)), np.diff(whole.blocks.start))
    _, which, uses = np.unique(whole.blocks.ids, return_inverse=True, return_counts=True)
    for block in np.flatnonzero(uses <= 0.1 * len(whole)):
        assert len(set(family[owner[which == block]].tolist())) == 1
    assert 1 < family.max() + 1 < len(whole)
    assert units(whole)[0] == "prefix families"


def test_samples_hit_as_the_whole_does() -> None:
    whole = _chats(6000)
    ratios = [_hit(sample(whole, share=0.2, seed=seed)) for seed in range(8)]
    assert np.mean(ratios) == pytest.approx(_hit(whole), abs=0.01)
    rows = whole.take(np.sort(np.random.default_rng(0).permutation(6000)[:1200]))
    assert _hit(rows) < _hit(whole) - 0.1  # a fifth of the rows would not do


@given(trace=traces(), seed=st.integers(0, 9), data=st.data())
@quick
def test_a_smaller_sample_is_part_of_a_larger_one(trace: Trace, seed: int, data: st.DataObject) -> None:
    count = int(units(trace)[1].max()) + 1
    small = data.draw(st.integers(1, count))
    large = data.draw(st.integers(small, count))
    sizes = [len(sample(trace, number=number, seed=seed)) for number in (small, large, count)]
    assert sizes == sorted(sizes)
    assert sizes[2] == len(trace)
    everything = sample(trace, share=1.0)
    assert same(everything.blocks, trace.blocks)
    assert everything.arrival_s.tolist() == trace.arrival_s.tolist()


def test_rate_brings_sessions_closer_and_leaves_their_pauses() -> None:
    whole = _with_sessions(_chats(30))
    twice = scale(whole, rate=2.0)
    assert twice.sessions and twice.sessions.gap_s is not None
    begin = {s: float(whole.arrival_s[whole.sessions.id == s][0]) for s in range(10)} if whole.sessions else {}
    for session, before in begin.items():
        mine = twice.arrival_s[twice.sessions.id == session]
        theirs = whole.arrival_s[np.arange(30) % 10 == session]
        assert mine[0] == before / 2
        assert mine - mine[0] == pytest.approx(theirs - before)
    assert sorted(twice.sessions.gap_s.tolist()) == [0.0] * 10 + [2.0] * 20
    slower = scale(whole, gaps=3.0)
    assert slower.sessions and slower.sessions.gap_s is not None
    assert sorted(slower.sessions.gap_s.tolist()) == [0.0] * 10 + [6.0] * 20
    assert (np.diff(slower.arrival_s) >= 0).all()


@given(trace=traces(), twice=st.sampled_from([2.0, 3.0, 1.5]))
@quick
def test_scaled_prompts_keep_their_ids(trace: Trace, twice: float) -> None:
    if not trace.blocks:
        return
    if trace.blocks.tokens * twice % 1:
        with pytest.raises(UserError, match="no whole number; the nearest factor is"):
            scale(trace, prompt=twice)
        return
    longer = scale(trace, prompt=twice)
    assert longer.blocks
    size = longer.blocks.tokens
    assert size == trace.blocks.tokens * twice
    assert longer.blocks.ids.tolist() == trace.blocks.ids.tolist()
    assert (held_blocks(longer.blocks) == -(-longer.prompt_tokens // size)).all()
    assert longer.prompt_tokens == pytest.approx(trace.prompt_tokens * twice, abs=1)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_tails_without_ids_stay_without(factor: float) -> None:
    prompt = np.array([0, 4, 8, 15, 17]) + 1
    blocks = Blocks(np.arange(3), starts(prompt // 8), 8)
    longer = scale(Trace("t", np.arange(5.0), prompt, prompt, blocks), prompt=factor)
    assert longer.blocks
    assert (longer.prompt_tokens // longer.blocks.tokens == prompt // 8).all()


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ({"rate": 0.0}, "rate must be from"),
        ({"rate": float("nan")}, "rate must be from"),
        ({"gaps": 2.0}, "has no sessions"),
        ({"output": 1e9}, "output: lengths would be"),
    ],
)
def test_factors_that_cannot_be(factors: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        scale(_chats(20), **factors)


@given(first=traces(), second=traces())
@quick
def test_merged_traces_share_nothing(first: Trace, second: Trace) -> None:
    sizes = {trace.blocks.tokens for trace in (first, second) if trace.blocks}
    if sizes and max(sizes) % min(sizes):
        with pytest.raises(UserError, match="have no common size"):
            merge([first, second], "m")
        return
    both = merge([first, second], "m")
    assert len(both) == len(first) + len(second)
    assert (np.diff(both.arrival_s) >= 0).all()
    assert both.prompt_tokens.sum() == first.prompt_tokens.sum() + second.prompt_tokens.sum()
    if len(sizes) == 1 and first.blocks and second.blocks and both.blocks:
        hits = [int(leading_seen(trace.blocks).sum()) for trace in (first, second) if trace.blocks]
        assert int(leading_seen(both.blocks).sum()) == sum(hits)


def test_merge_keeps_sessions_apart(tmp_path: Path) -> None:
    first, second = _with_sessions(_chats(30)), _chats(12, seed=5)
    measured = Measured(np.full(12, 0.5), np.full(12, 1.5))
    both = merge([first, Trace(**{**vars(second), "measured": measured})], "m")
    assert both.sessions and both.sessions.gap_s is not None and both.measured
    assert len(np.unique(both.sessions.id)) == 10 + 12
    assert np.isnan(both.measured.ttft_s).sum() == 30
    child = np.repeat(np.arange(42), np.diff(both.sessions.start))
    assert (both.sessions.id[child] == both.sessions.id[both.sessions.parents]).all()
    write_trace(both, tmp_path / "m.jsonl")
    assert same(read_trace(tmp_path / "m.jsonl"), both)
    with pytest.raises(UserError, match="at least 2 traces"):
        merge([first], "m")


def test_blocks_split_without_loss(tmp_path: Path) -> None:
    """Prompts of 10, 7 and 3 tokens in blocks of 4, the second's rounded down: in blocks of 2 they share as much."""
    blocks = Blocks(np.array([1, 2, 3, 1, 9]), np.array([0, 3, 4, 5]), 4)
    prompt = np.array([10, 7, 3])
    small = split(blocks, prompt, 2)
    assert small.counts is not None
    assert (small.counts.tolist(), np.diff(small.start).tolist()) == ([2, 2, 1, 2, 1, 2], [3, 2, 1])
    single = one_by_one(small)
    assert [row.tolist() for row in np.split(single.ids, single.start[1:-1])] == [
        single.ids[:5].tolist(),
        [*single.ids[:2].tolist(), single.ids[7]],
        single.ids[8:].tolist(),
    ]
    trace = Trace("t", np.arange(3.0), prompt, prompt, small)
    write_trace(trace, tmp_path / "t.jsonl")
    assert read_trace(tmp_path / "t.jsonl").blocks
    with pytest.raises(UserError, match="only a divisor loses nothing"):
        split(blocks, prompt, 3)


def test_command_lines(tmp_path: Path) -> None:
    def run(*words: object) -> None:
        done = CliRunner().invoke(command, [str(word) for word in words], catch_exceptions=False)
        assert done.exit_code == 0, done.output

    part, longer, both = (tmp_path / name for name in ("part.jsonl", "longer.jsonl.gz", "both.jsonl"))
    run("sample", "conversations", "--share", "0.1", "--seed", "4", "--out", part)
    run("scale", part, "--prompt", "2", "--rate", "3", "--out", longer)
    run("merge", part, longer, "conversations", "--out", both)
    assert len(read_trace(both)) == 1000 + 2 * len(read_trace(part))
    with pytest.raises(UserError, match="either a share or a number"):
        run("sample", "conversations", "--out", part)
