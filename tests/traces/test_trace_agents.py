"""LLMServingSim's sessions: tool times, token ids, and requests between them."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvsim.errors import UserError
from kvsim.traces.read import read_trace
from kvsim.traces.tokens import BLOCK_TOKENS, TokenBlocks
from kvsim.traces.trace import Trace


def _call(prompt: int, output: int, tool_ns: int | None = None, tokens: list[int] | None = None) -> dict[str, Any]:
    more = {"tool_duration_ns": tool_ns, "input_tok_ids": tokens}
    given = {key: value for key, value in more.items() if value is not None}
    return {"input_toks": prompt, "output_toks": output, **given}


def _read(folder: Path, *rows: dict[str, Any]) -> Trace:
    path = folder / "trace"
    path.write_text("".join(json.dumps({"arrival_time_ns": 10**9, **row}) + "\n" for row in rows))
    return read_trace(path)


def test_calls_follow_each_other(tmp_path: Path) -> None:
    calls = [_call(100, 60, 2_500_000_000), _call(170, 5), _call(40, 5)]
    trace = _read(tmp_path, {"session_id": "a", "sub_requests": calls}, _call(33, 4))
    sessions = trace.sessions
    assert sessions and sessions.gap_s is not None and trace.blocks
    assert sessions.gap_s.tolist() == [0, 2.5, 0, 0]
    assert [sessions.parents[a:b].tolist() for a, b in pairwise(sessions.start)] == [[], [0], [1], []]
    assert sessions.id.tolist() == [0, 0, 0, 1]
    assert not sessions.timed
    assert "1 later turns share the prompt and output before them, 1 are shorter" in trace.notes[0]


def test_token_ids_say_what_is_shared(tmp_path: Path) -> None:
    first, other = list(range(40)), [*range(20), *range(100, 140)]
    calls = [_call(40, 8, 0, first), _call(60, 8, 0, [*first, *range(40, 60)])]
    trace = _read(tmp_path, {"sub_requests": calls}, _call(60, 1, None, other))
    assert trace.blocks and trace.blocks.counts is None
    ids = [trace.blocks.ids[a:b].tolist() for a, b in pairwise(trace.blocks.start)]
    assert ids == [[0, 1], [0, 1, 2], [0, 3, 4]]  # sessions share too
    assert trace.notes[0] == "prompts share what their token ids share, in blocks of 16"


@pytest.mark.parametrize(
    ("calls", "says"),
    [
        ([_call(2, 1, 0, [1])], r"sub_requests\[0\]: input_tok_ids must be a list of 2 token ids, but holds 1"),
        ([_call(1, 1, 0, [-1])], r"sub_requests\[0\]: input_tok_ids\[0\] must be a whole number"),
        ([_call(1, 1, 0, [5]), _call(1, 1)], "either all calls of a trace have input_tok_ids, or none has"),
        ([_call(1, 1, -5)], r"sub_requests\[0\]: tool_duration_ns must be a finite number"),
        ([3], r"sub_requests\[0\]: must be one JSON object"),
        (3, "sub_requests must be a list"),
        ([{}], r"sub_requests\[0\]: has no 'input_toks'"),
    ],
)
def test_faults_say_where(calls: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"trace:1: {says}"):
        _read(tmp_path, {"sub_requests": calls})


@given(st.lists(st.lists(st.integers(0, 1), max_size=70), max_size=6))
def test_blocks_are_equal_where_all_tokens_up_to_them_are(prompts: list[list[int]]) -> None:
    blocks = TokenBlocks()
    ids = [blocks.ids(prompt).tolist() for prompt in prompts]
    names: dict[int, tuple[int, ...]] = {}
    for prompt, found in zip(prompts, ids, strict=True):
        assert len(found) == len(prompt) // BLOCK_TOKENS
        for at, block in enumerate(found, 1):
            assert names.setdefault(block, tuple(prompt[: at * BLOCK_TOKENS])) == tuple(prompt[: at * BLOCK_TOKENS])
    assert len(set(names.values())) == len(names)
