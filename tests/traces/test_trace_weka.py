"""Sessions of kv-cache-tester: who waits for whom, gaps, ids, and faults."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kvsim.errors import UserError
from kvsim.traces.read import read_trace
from kvsim.traces.runs import expanded
from kvsim.traces.trace import Trace


def _call(t: float, ids: list[int] | None = None, **more: Any) -> dict[str, Any]:
    ids = [1] if ids is None else ids
    return {"t": t, "type": "n", "in": 64 * len(ids) + 5, "out": 7, "hash_ids": ids, **more}


def _agent(t: float, calls: list[dict[str, Any]], duration_s: float | None = None) -> dict[str, Any]:
    return {"t": t, "type": "subagent", "duration_ms": duration_s and duration_s * 1000, "requests": calls}


def _read(folder: Path, *sessions: list[dict[str, Any]], **more: Any) -> Trace:
    path = folder / "trace"
    rows = ({"id": "x", "block_size": 64, "requests": calls, **more} for calls in sessions)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_trace(path)


def _waits(trace: Trace) -> list[tuple[float, list[int], float]]:
    """(arrival, parents, gap) of each call."""
    sessions = trace.sessions
    assert sessions and sessions.gap_s is not None
    parents = [sessions.parents[a:b].tolist() for a, b in pairwise(sessions.start)]
    return list(zip(trace.arrival_s.tolist(), parents, sessions.gap_s.round(6).tolist(), strict=True))


def test_gaps_are_think_times_or_what_stamps_leave(tmp_path: Path) -> None:
    calls = [
        _call(0, think_time=9, api_time=2),
        _call(10, think_time=7.5, api_time=4),
        _call(20, api_time=None),
        _call(50),
        _call(51, think_time=None, api_time=3),
        _call(52),
    ]
    trace = _read(tmp_path, calls)
    assert _waits(trace) == [
        (0, [], 0),
        (10, [0], 7.5),
        (20, [1], 6),
        (50, [2], 30),
        (51, [3], 1),
        (52, [4], 0),  # sent before the call above had ended: at once
    ]
    assert (
        "4 calls have no think_time: their gap is from stamps, 2 of them after a call without api_time" in trace.notes
    )


def test_latencies_are_kept(tmp_path: Path) -> None:
    measured = _read(tmp_path, [_call(0, api_time=2.5, ttft=0.5), _call(9, api_time=3), _call(20)]).measured
    assert measured
    assert np.array_equal(measured.e2e_s, [2.5, 3, np.nan], equal_nan=True)
    assert np.array_equal(measured.ttft_s, [0.5, np.nan, np.nan], equal_nan=True)


def test_sub_agents_that_ended_are_waited_for(tmp_path: Path) -> None:
    """Two at once, stamped when they ended (at 30 and 50); the next call comes 8 s after the last of their calls."""
    agents = [
        _agent(30, [_call(0, api_time=5), _call(9, think_time=4, api_time=8)], 19),
        _agent(50, [_call(0, api_time=37)], 39),
    ]
    trace = _read(tmp_path, [_call(0, api_time=10), *agents, _call(56, think_time=46, api_time=1)])
    assert _waits(trace) == [
        (0, [], 0),
        (11, [0], 1),
        (11, [0], 1),
        (20, [1], 4),
        (56, [0, 2, 3], 8),
    ]
    assert "2 sub-agents; 2 had ended by the next call, which waits for them" in trace.notes


def test_a_sub_agent_that_goes_on_is_not_waited_for(tmp_path: Path) -> None:
    agent = _agent(12, [_call(0, api_time=30), _call(40, api_time=5)])
    trace = _read(tmp_path, [_call(0, api_time=10), agent, _call(15, think_time=5), _call(90, think_time=75)])
    assert _waits(trace) == [(0, [], 0), (12, [0], 2), (15, [0], 5), (52, [1], 10), (90, [2], 75)]


@pytest.mark.parametrize("absolute", [False, True])
def test_a_marker_stamped_at_the_start(absolute: bool, tmp_path: Path) -> None:
    """30 s earlier the call that started it was still running; inner stamps may count from the session's start."""
    inner = [_call(t + (100 if absolute else 0), api_time=2) for t in (0, 20)]
    trace = _read(tmp_path, [_call(80, api_time=19), _agent(100, inner, 30), _call(140, think_time=41)])
    assert _waits(trace) == [(0, [], 0), (20, [0], 1), (40, [1], 18), (60, [0, 2], 18)]


def test_a_sub_agent_before_any_call_and_one_without_calls(tmp_path: Path) -> None:
    trace = _read(tmp_path, [_agent(5, [_call(0, api_time=1), _call(3, think_time=2)]), _agent(9, []), _call(10)])
    assert _waits(trace) == [(0, [], 0), (3, [0], 2), (5, [1], 2)]


def test_calls_out_of_order_are_sorted(tmp_path: Path) -> None:
    calls = [_call(0, [1]), _call(9, [1, 2], think_time=3), _call(4, [1, 3], think_time=2)]
    trace = _read(tmp_path, calls)
    assert _waits(trace) == [(0, [], 0), (4, [0], 2), (9, [1], 3)]


def test_local_ids_differ_between_sessions_and_agree_within(tmp_path: Path) -> None:
    one, two = [_call(0, [1, 2, 3]), _call(1, [1, 2, 9])], [_call(2, [1, 2, 3, 4])]
    blocks = _read(tmp_path, one, two).blocks
    assert blocks and blocks.counts is not None
    assert blocks.counts.tolist() == [2, 1, 2, 1, 4]
    ids = expanded(blocks).ids.tolist()
    assert ids[:2] == ids[3:5]
    assert len(set(ids)) == 3 + 1 + 4


def test_global_ids_stay(tmp_path: Path) -> None:
    trace = _read(tmp_path, [_call(0, [5, 6])], [_call(2, [5, 6, 7])], hash_id_scope="global")
    assert trace.blocks
    assert trace.blocks.ids.tolist() == [5, 6, 5, 6, 7]
    assert not any("local" in note for note in trace.notes)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"hash_ids": [1, 1.5]}, r"requests\[1\]: hash_ids\[1\] must be a whole number"),
        ({"hash_ids": [True]}, r"hash_ids\[0\] must be a whole number"),
        ({"hash_ids": [-1]}, r"hash_ids\[0\] must be a whole number"),
        ({"hash_ids": [2**63]}, r"hash_ids\[0\] must be a whole number"),
        ({"hash_ids": None}, "hash_ids must be a list"),
        ({"hash_ids": [1, 2, 3]}, r"in 69 with 3 hash_ids: expected 1 \(blocks of 64 tokens"),
        ({"t": -1}, "t must be a finite number"),
        ({"api_time": "3"}, "api_time must be a finite number"),
        ({"in": 5.0}, "in must be a whole number"),
        ({"type": "subagent"}, r"requests\[1\]: has no 'requests'"),
        ({"type": "subagent", "requests": 3}, r"requests\[1\]: requests must be a list"),
        ({"type": "subagent", "requests": [3]}, r"requests\[1\]: requests\[0\]: must be one JSON object"),
    ],
)
def test_faults_say_where(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"trace:1: .*{says}"):
        _read(tmp_path, [_call(0), {**_call(1), **change}])


@pytest.mark.parametrize("more", [{"hash_id_scope": "galactic"}, {"block_size": 0}, {"block_size": None}])
def test_headers_that_make_no_sense(more: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="trace:1: "):
        _read(tmp_path, [_call(0)], **more)


def test_sessions_must_agree_on_their_blocks(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    rows = [{"block_size": size, "requests": [_call(0, [])]} for size in (64, 32)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(
        UserError, match="trace:2: blocks of 32 tokens, scope local, but sessions before had blocks of 64"
    ):
        read_trace(path)


def test_sub_agents_cannot_nest_for_ever(tmp_path: Path) -> None:
    calls = [_call(0)]
    for _ in range(40):
        calls = [_agent(0, calls)]
    with pytest.raises(UserError, match="nested more than 16 deep"):
        _read(tmp_path, calls)
