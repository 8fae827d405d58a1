"""TraceLab's rounds and simulator CSV: who waits for whom, gaps, and what grows."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kvsim.errors import UserError
from kvsim.traces.read import read_trace
from kvsim.traces.trace import Trace

HEAD = "session_id,arrival_time,round_idx,prefix_len,input_len,output_len,tool_wait_after_ms\n"


def _read(folder: Path, text: str) -> Trace:
    path = folder / "trace"
    path.write_text(text)
    return read_trace(path)


def _waits(trace: Trace) -> list[tuple[float, list[int], float]]:
    sessions = trace.sessions
    assert sessions and sessions.gap_s is not None
    parents = [sessions.parents[a:b].tolist() for a, b in pairwise(sessions.start)]
    return list(zip(trace.arrival_s.tolist(), parents, sessions.gap_s.tolist(), strict=True))


def _round(index: int, prompt: int, output: int, *events: tuple[str, str], session: str = "s") -> str:
    stamped = [{"event_type": kind, "timestamp": f"2026-06-01T05:40:{at}Z"} for kind, at in events]
    row = {"session_id": session, "round_index": index, "input_tokens_total": prompt, "output_tokens": output}
    return json.dumps({**row, "timing_events": stamped, "tools": []}) + "\n"


def test_csv_sessions(tmp_path: Path) -> None:
    rows = ["b,250,0,0,100,60,30", "a,1000,1,160,20,5,0", "a,1000,0,0,100,60,1500.5", "b,250,1,160,30,7,0"]
    trace = _read(tmp_path, HEAD + "".join(f"{row}\n" for row in rows))
    assert trace.prompt_tokens.tolist() == [100, 190, 100, 180]  # what is shared and what is appended
    assert _waits(trace) == [(0, [], 0), (0, [0], 0.03), (0.75, [], 0), (0.75, [2], 1.5005)]
    assert trace.sessions and not trace.sessions.timed
    assert trace.measured is None


def test_csv_without_arrivals(tmp_path: Path) -> None:
    head = HEAD.replace("session_id,arrival_time", "id")
    assert _waits(_read(tmp_path, head + "7,0,0,100,60,30\n7,1,160,5,1,0\n")) == [(0, [], 0), (0, [0], 0.03)]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("a,1,0,0,x,1,0", "trace:2: input_len must be a whole number"),
        ("a,1,0,0,1,1,-1", "trace:2: tool_wait_after_ms must be a finite number"),
        ("a,-1,0,0,1,1,0", "trace:2: arrival_time must be a finite number"),
        ("a,1,0,0,1,1", "trace:2: has 6 columns, expected 7"),
    ],
)
def test_csv_faults(row: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=says):
        _read(tmp_path, f"{HEAD}{row}\n")


def test_rounds_are_sent_with_their_last_input_and_end_with_their_last_output(tmp_path: Path) -> None:
    first = _round(
        0, 100, 60, ("user_message", "01"), ("reasoning", "03"), ("tool_call", "04.5"), ("usage_report", "09")
    )
    second = _round(1, 190, 7, ("tool_result", "05"), ("tool_result", "10"), ("text", "11"), ("tool_result", "15"))
    trace = _read(tmp_path, second + first)
    assert trace.prompt_tokens.tolist() == [100, 190]
    assert _waits(trace) == [(0, [], 0), (9, [0], 5.5)]
    assert trace.measured
    assert trace.measured.e2e_s.tolist() == [3.5, 1]
    assert np.isnan(trace.measured.ttft_s).all()
    assert trace.blocks and trace.blocks.tokens == 16
    assert trace.blocks.ids[trace.blocks.start[0]] == trace.blocks.ids[trace.blocks.start[1]]


def test_rounds_without_stamps_are_sent_at_once(tmp_path: Path) -> None:
    first = _round(0, 100, 60, ("user_message", "01"), ("text", "04"))
    trace = _read(tmp_path, first + _round(1, 190, 7) + _round(2, 200, 7, ("user_message", "09")))
    assert _waits(trace) == [(0, [], 0), (3, [0], 0), (8, [1], 5)]
    assert "1 rounds have no event before their output: sent at once" in trace.notes
    with pytest.raises(UserError, match="trace:1: its session's first round must have a user_message with its time"):
        _read(tmp_path, _round(0, 100, 60))


def test_rounds_that_overlap_wait_for_each_other(tmp_path: Path) -> None:
    first = _round(0, 100, 60, ("user_message", "01"), ("text", "08"))
    trace = _read(tmp_path, first + _round(1, 190, 7, ("tool_result", "05"), ("text", "06")))
    assert _waits(trace) == [(0, [], 0), (4, [0], 0)]


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("session_id", 3, "session_id must be a text"),
        ("round_index", None, "round_index must be a whole number"),
        ("prefix_tokens", -1, "prefix_tokens must be a whole number"),
        ("timing_events", {}, "timing_events must be a list"),
        ("timing_events", [3], r"timing_events\[0\]: must be one JSON object"),
        ("timing_events", [{"event_type": "text"}], r"timing_events\[0\]: timestamp must be a UTC date"),
    ],
)
def test_faults_say_where(key: str, value: Any, says: str, tmp_path: Path) -> None:
    row = json.loads(_round(0, 100, 60, ("user_message", "01")))
    with pytest.raises(UserError, match=rf"trace:1: {says}"):
        _read(tmp_path, json.dumps({**row, key: value}))
