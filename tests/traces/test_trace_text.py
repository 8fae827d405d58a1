"""Traces that are text: tokenizers, ShareGPT's conversations, requests of OpenAI's API."""

import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kvsim.cli.trace import trace
from kvsim.errors import UserError
from kvsim.traces.open import open_trace
from kvsim.traces.read import read_trace
from kvsim.traces.tokenizer import tokenizer
from kvsim.traces.trace import Trace

WORDS = {"version": "1.0", "pre_tokenizer": {"type": "Whitespace"}, "model": {"type": "WordLevel", "unk_token": "?"}}


def _read(folder: Path, rows: Any, **options: Any) -> Trace:
    path = folder / "trace"
    path.write_text(json.dumps(rows) if isinstance(rows, dict) else "".join(json.dumps(row) + "\n" for row in rows))
    return read_trace(path, **{"lengths_only": True, "tokenizer": "chars:1", **options})


def _chat(*said: str, id: str = "x") -> dict[str, Any]:
    roles = ("human", "gpt")
    turns = [{"from": roles[at % 2], "value": text} for at, text in enumerate(said)]
    return {"id": id, "conversations": turns}


@pytest.mark.parametrize(("name", "count"), [("chars:4", 3), ("chars:1", 9), ("chars:1000", 1)])
def test_counting_characters(name: str, count: int) -> None:
    encode = tokenizer(name)
    tokens = encode("abcdabcdé")
    assert len(tokens) == count
    assert encode("abcdabcdé") == tokens
    assert encode("") == []


def test_a_tokenizer_file(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    words = {**WORDS, "model": {**WORDS["model"], "vocab": {"?": 0, "red": 1, "fox": 2}}}  # type: ignore[dict-item]
    (tmp_path / "tokenizer.json").write_text(json.dumps(words))
    for place in (tmp_path, tmp_path / "tokenizer.json"):
        assert list(tokenizer(str(place))("red fox jumps")) == [1, 2, 0]
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match=r"tokenizer .*tokenizer\.json: "):
        tokenizer(str(tmp_path))


@pytest.mark.parametrize("name", ["chars:", "chars:0", "chars:x", "chars:-4", "chars:99999999", "./none.json", "a/b"])
def test_tokenizers_that_are_none(name: str) -> None:
    with pytest.raises(UserError, match=f"tokenizer {name}: "):
        tokenizer(name)


def test_a_name_that_tiktoken_does_not_know() -> None:
    pytest.importorskip("tiktoken")
    with pytest.raises(UserError, match=r"unknown to tiktoken, which has .*o200k_base"):
        tokenizer("klingon_base")


@pytest.mark.parametrize(
    ("library", "name"),
    [("tiktoken", "o200k_base"), ("tiktoken", "gpt-3.5-turbo"), ("tokenizers", "tokenizer.json")],
)
def test_an_absent_library_is_named(library: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tokenizer.json").write_text("{}")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UserError, match=rf"needs {library}, which is not installed: pip install 'kvsim\[text\]'"):
        tokenizer(name)


def test_conversations_grow(tmp_path: Path) -> None:
    """Prompts hold all that was said, a role before each message; the answer's blocks are found in the next prompt."""
    trace = _read(tmp_path, [_chat("q" * 30, "a" * 20, "r" * 5, "b" * 7), _chat("q" * 30, "z")])
    first = len("user\n" + "\n" + "assistant\n") + 30
    assert trace.prompt_tokens.tolist() == [first, first + 21 + 5 + 6 + 10, first]
    assert trace.output_tokens.tolist() == [20, 7, 1]
    sessions = trace.sessions
    assert sessions and trace.blocks and not sessions.timed
    assert [sessions.parents[a:b].tolist() for a, b in pairwise(sessions.start)] == [[], [0], []]
    one, two, three = (trace.blocks.ids[a:b].tolist() for a, b in pairwise(trace.blocks.start))
    assert one == two[:2] == three


def test_an_array_of_conversations(tmp_path: Path) -> None:
    path = tmp_path / "sharegpt.json"
    path.write_text(json.dumps([_chat("q", "a"), _chat("only a question"), _chat("q", "a")], indent=2))
    trace = read_trace(path, lengths_only=True, tokenizer="chars:4")
    assert len(trace) == 2
    assert "1 conversations have no answer to a message: left out" in trace.notes


def test_an_answer_to_nothing_is_no_call(tmp_path: Path) -> None:
    chat = {
        "conversations": [
            {"from": "gpt", "value": "hello"},
            {"from": "human", "value": "q"},
            {"from": "gpt", "value": "a"},
        ]
    }
    assert _read(tmp_path, [chat]).output_tokens.tolist() == [1]


@pytest.mark.parametrize(
    ("row", "prompt", "output"),
    [
        ({"prompt": "x" * 5, "max_tokens": 9}, 5, 9),
        ({"prompt": "x" * 5, "max_tokens": 9, "output_tokens": 3}, 5, 3),
        ({"messages": [{"role": "user", "content": "x"}], "max_completion_tokens": 2}, 17, 2),
        ({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "abc"}]}, 17, 3),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}], "max_tokens": 2}, 17, 2),
        ({"custom_id": "1", "body": {"prompt": "xy", "max_tokens": 2}}, 2, 2),
    ],
)
def test_requests_of_the_api(row: dict[str, Any], prompt: int, output: int, tmp_path: Path) -> None:
    trace = _read(tmp_path, [row])
    assert (trace.prompt_tokens.tolist(), trace.output_tokens.tolist()) == ([prompt], [output])


def test_tool_calls_count(tmp_path: Path) -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]}
    trace = _read(tmp_path, [{"messages": [{"role": "user", "content": "x"}, call]}])
    assert trace.output_tokens.tolist() == [len(json.dumps({"tool_calls": call["tool_calls"]}))]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": 3, "max_tokens": 1}, "prompt must be a text, but got 3"),
        ({"prompt": "x"}, "has no answer, and none of output_tokens, .* says how long"),
        ({"prompt": "x", "max_tokens": -1}, "max_tokens must be a whole number"),
        ({"messages": 3}, "messages must be a list"),
        ({"messages": [{"role": 3, "content": "x"}]}, r"messages\[0\]: must have a role or from that is a text"),
        ({"messages": [{"role": "user"}]}, r"messages\[0\]: has no content, value, text or parts"),
        ({"custom_id": "1", "body": {}}, "body: has no 'prompt' and no 'messages'"),
        ({"conversations": 3}, "conversations must be a list"),
        ({"conversations": [3]}, r"conversations\[0\]: must be one JSON object"),
    ],
)
def test_faults_say_where(row: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"trace:1: {says}"):
        _read(tmp_path, [row])


def test_content_nested_without_end(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    content = "[" * 1000 + "]" * 1000
    rows = [f'{{"messages": [{{"role": "user", "content": {said}}}], "max_tokens": 1}}' for said in ('"x"', content)]
    path.write_text("\n".join(rows))
    with pytest.raises(UserError, match=r"trace:2: messages\[0\]: is nested too deep"):
        read_trace(path, lengths_only=True, tokenizer="chars:4")


@pytest.mark.parametrize("row", [{"prompt": "x", "max_tokens": 1}, _chat("q", "a")])
def test_texts_have_no_arrivals(row: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nobody knows when its requests arrive; write a workload YAML with"):
        _read(tmp_path, [row], lengths_only=False)
    with pytest.raises(UserError, match="has text, and no token counts: choose --tokenizer"):
        _read(tmp_path, [row], tokenizer=None)


def test_a_tokenizer_for_counts_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n0,1,1\n")
    with pytest.raises(UserError, match="the vidur format has token counts; a tokenizer is for those with text"):
        read_trace(path, tokenizer="chars:4")


def test_texts_give_lengths_to_generators(tmp_path: Path) -> None:
    (tmp_path / "chats.json").write_text(json.dumps([_chat("q" * 40, "a" * 12)]))
    spec = tmp_path / "w.yaml"
    arrivals = "arrivals: {process: poisson, rate_per_s: 1}"
    spec.write_text(f"generate: {{requests: 3, {arrivals}, lengths_from: chats.json, tokenizer: 'chars:4'}}")
    made, _ = open_trace(spec)
    assert made.prompt_tokens.tolist() == [2 + 11 + 3] * 3  # "user\n", the message and its line end, "assistant\n"
    assert made.output_tokens.tolist() == [3] * 3
    lengths = "prompt: {tokens: 3}, output: {tokens: 4}"
    spec.write_text(f"generate: {{requests: 3, {arrivals}, {lengths}, tokenizer: 'chars:4'}}")
    with pytest.raises(UserError, match="tokenizer is for the text of lengths_from"):
        open_trace(spec)


def test_a_workload_names_the_tokenizer_of_its_trace(tmp_path: Path) -> None:
    attributes = {"gen_ai.input.messages": [{"role": "user", "content": "x"}], "gen_ai.output.text": "abc"}
    times = {"start_time": "2026-02-25T10:00:00", "end_time": "2026-02-25T10:00:01"}
    (tmp_path / "s.json").write_text(json.dumps({"spans": [{"trace_id": "t", **times, "attributes": attributes}]}))
    (tmp_path / "w.yaml").write_text("trace: s.json\ntokenizer: chars:1")
    made, _ = open_trace(tmp_path / "w.yaml")
    assert (made.prompt_tokens.tolist(), made.output_tokens.tolist()) == ([17], [3])


def test_the_command_line_takes_a_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "chats.json").write_text(json.dumps([_chat("q" * 40, "a" * 12)]))
    out = tmp_path / "out.jsonl"
    given = ["generate", "--requests", "2", "--out", str(out), "--tokenizer", "chars:4"]
    done = CliRunner().invoke(trace, [*given, "--lengths-from", str(tmp_path / "chats.json")])
    assert done.exit_code == 0, done.output
    assert read_trace(out).prompt_tokens.tolist() == [16, 16]
    with pytest.raises(UserError, match="--tokenizer: is for the text of --lengths-from"):
        CliRunner().invoke(trace, given, catch_exceptions=False)


def _iteration(session: str, output: int, gap_s: float | None, *said: str) -> dict[str, Any]:
    roles = ("user", "assistant")
    turns = [{"role": roles[at % 2], "content": text} for at, text in enumerate(said)]
    return {"session_id": session, "model": "m", "input": turns, "output_length": output, "pre_gap": gap_s}


def test_lmcache_sessions(tmp_path: Path) -> None:
    rows = [
        _iteration("a", 20, None, "q" * 30),
        _iteration("b", 4, 9.0, "other"),
        _iteration("a", 7, 2.5, "q" * 30, "a" * 20, "r"),
    ]
    made = _read(tmp_path, rows, lengths_only=False)
    sessions = made.sessions
    assert sessions and sessions.gap_s is not None and made.blocks and not sessions.timed
    assert made.arrival_s.tolist() == [0, 0, 0]
    assert made.prompt_tokens.tolist() == [46, 46 + 21 + 7 + 10, 21]
    assert made.output_tokens.tolist() == [20, 7, 4]
    assert sessions.gap_s.tolist() == [0, 2.5, 0]
    assert sessions.parents.tolist() == [0]
    one, two, _ = (made.blocks.ids[a:b].tolist() for a, b in pairwise(made.blocks.start))
    assert one == two[:2]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"session_id": None}, "session_id must be a text or a whole number"),
        ({"pre_gap": -1}, "pre_gap must be a finite number"),
        ({"input": "x"}, "input must be a list"),
        ({"output_length": "x"}, "output_length must be a whole number"),
    ],
)
def test_lmcache_faults_say_where(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"trace:1: {says}"):
        _read(tmp_path, [{**_iteration("a", 1, 0, "x"), **change}], lengths_only=False)
