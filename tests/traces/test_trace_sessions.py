"""Sessions, measured latencies and counted blocks: through chunks, selections and files."""

from dataclasses import fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvsim.errors import UserError
from kvsim.traces.read import read_trace
from kvsim.traces.sessions import Call, SessionChunks
from kvsim.traces.source import Source
from kvsim.traces.trace import Trace, gather
from kvsim.traces.write import write_trace


def _source(folder: Path) -> Source:
    path = folder / "empty.csv"
    path.write_text("a\n")
    return Source(path)


def same(a: Any, b: Any) -> bool:
    """Whether two traces, or parts of them, hold the same figures."""
    if is_dataclass(a) and is_dataclass(b):
        return type(a) is type(b) and all(
            same(getattr(a, field.name), getattr(b, field.name)) for field in fields(a) if field.name != "name"
        )
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    return bool(a == b)


@st.composite
def calls(draw: st.DrawFn, gaps: bool, counted: bool) -> list[Call]:
    made: list[Call] = []
    for at in range(draw(st.integers(1, 6))):
        parents = draw(st.sets(st.integers(0, at - 1), max_size=2)) if at else set()
        blocks = draw(st.integers(1, 4))
        made.append(
            Call(
                line=at + 1,
                arrival=at + draw(st.integers(0, 3)) / 2,
                prompt_tokens=blocks * 16,
                output_tokens=draw(st.integers(1, 9)),
                parents=tuple(sorted(parents)),
                gap_s=draw(st.floats(0, 100)) if gaps else None,
                ids=[7] if counted else list(range(blocks)),
                counts=[blocks] if counted else None,
                ttft_s=draw(st.sampled_from([float("nan"), 0.25])),
            )
        )
    return made


@given(data=st.data())
def test_a_file_holds_all_of_a_trace(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    gaps, counted, measured, timed = (data.draw(st.booleans()) for _ in range(4))
    folder = tmp_path_factory.mktemp("round")
    with _source(folder) as source:
        source.block_tokens = 16
        chunks = SessionChunks(source, measured=measured)
        parts = [chunks.chunk(data.draw(calls(gaps, counted))) for _ in range(data.draw(st.integers(1, 3)))]
        trace = gather("t", parts, block_tokens=16, timed=timed or not gaps)
    write_trace(trace, folder / "t.jsonl")
    again = read_trace(folder / "t.jsonl")
    assert same(again.take(np.arange(len(again))), again)
    notes = [note for note in again.notes if note not in trace.notes]
    assert all("clock" in note for note in notes)
    assert same(again, Trace(**{**vars(trace), "notes": again.notes}))


def test_a_call_without_tokens_hands_its_parents_on(tmp_path: Path) -> None:
    with _source(tmp_path) as source:
        chain = [
            Call(1, 0, 5, 5),
            Call(2, 1, 5, 0, (0,), 1.0),
            Call(3, 2, 5, 5, (1,), 2.0),
            Call(4, 3, 5, 5, (1, 2), 3.0),
        ]
        sessions = gather("t", [SessionChunks(source).chunk(chain)]).sessions
        assert sessions
        assert source.dropped == {"0 output tokens": 1}
    assert [sessions.parents[a:b].tolist() for a, b in pairwise(sessions.start)] == [[], [0], [0, 1]]
    assert sessions.gap_s is not None
    assert sessions.gap_s.tolist() == [0.0, 2.0, 3.0]


def test_a_child_whose_parents_are_left_out_waits_for_nobody(tmp_path: Path) -> None:
    with _source(tmp_path) as source:
        chain = [Call(1, 0, 5, 5), Call(2, 1, 5, 5, (0,), 1.0), Call(3, 2, 5, 5, (1,), 2.0)]
        trace = gather("t", [SessionChunks(source).chunk(chain)])
    rest = trace.take(np.array([1, 2])).sessions
    assert rest and rest.gap_s is not None
    assert (rest.parents.tolist(), rest.start.tolist(), rest.gap_s.tolist()) == ([0], [0, 0, 1], [0.0, 2.0])


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("parents", "[1]", "parents must be rows above"),
        ("parents", "3", "must be a list"),
        ("gap_s", "-1", "gap_s must be a finite number"),
        ("session", '"a"', "session must be a whole number"),
        ("ttft_s", "true", "ttft_s must be a finite number"),
    ],
)
def test_a_fault_in_a_session_is_named(key: str, value: str, says: str, tmp_path: Path) -> None:
    row = {"session": "0", "parents": "[]", "gap_s": "0", "ttft_s": "null", "e2e_s": "null", key: value}
    text = ", ".join(f'"{name}": {figure}' for name, figure in row.items())
    path = tmp_path / "t.jsonl"
    path.write_text(
        '{"kvsim_trace": 1, "sessions": "timed", "measured": true}\n'
        f'{{"arrival_s": 0, "prompt_tokens": 1, "output_tokens": 1, {text}}}\n'
    )
    with pytest.raises(UserError, match=says):
        read_trace(path)
