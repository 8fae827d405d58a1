"""Spans of model calls: sessions, who waits for whom, failures, texts."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from kvsim.errors import UserError
from kvsim.traces.read import read_trace
from kvsim.traces.trace import Trace


def _span(begin: float, end: float, prompt: int = 100, output: int = 60, **more: Any) -> dict[str, Any]:
    usage = {"gen_ai.usage.input_tokens": prompt, "gen_ai.usage.output_tokens": output}
    times = {key: f"2026-02-25T10:00:{at:09.6f}" for key, at in (("start_time", begin), ("end_time", end))}
    attributes = {**usage, **more.pop("attributes", {})}
    return {"trace_id": "t", "span_id": "s", **times, "attributes": attributes, **more}


def _asked(begin: float, messages: Any, answer: Any, **more: Any) -> dict[str, Any]:
    span = _span(begin, begin + 1, **more)
    span["attributes"] = {"gen_ai.input.messages": messages, "gen_ai.output.text": answer}
    return span


def _read(folder: Path, *spans: Any, **options: Any) -> Trace:
    path = folder / "trace.json"
    path.write_text(json.dumps({"spans": spans}, indent=1))
    return read_trace(path, **options)


def _waits(trace: Trace) -> list[tuple[float, list[int], float]]:
    sessions = trace.sessions
    assert sessions and sessions.gap_s is not None
    parents = [sessions.parents[a:b].tolist() for a, b in pairwise(sessions.start)]
    return list(zip(trace.arrival_s.tolist(), parents, sessions.gap_s.tolist(), strict=True))


def test_calls_wait_for_those_that_had_ended(tmp_path: Path) -> None:
    """Two at once after the first, and one after both; in the file in any order."""
    trace = _read(tmp_path, _span(7, 9), _span(2, 4), _span(0, 1), _span(2.5, 6))
    assert _waits(trace) == [(0, [], 0), (2, [0], 1), (2.5, [0], 1.5), (7, [1, 2], 1)]
    assert trace.measured
    assert trace.measured.e2e_s.tolist() == [1, 2, 3.5, 2]


def test_a_call_beside_a_chain_is_waited_for_once(tmp_path: Path) -> None:
    trace = _read(tmp_path, _span(0, 5), _span(1, 2), _span(3, 4), _span(6, 7))
    assert _waits(trace) == [(0, [], 0), (1, [], 0), (3, [1], 1), (6, [0, 2], 1)]


def test_sessions_are_conversations_or_traces(tmp_path: Path) -> None:
    chat = {"attributes": {"gen_ai.conversation.id": "c"}}
    spans = [_span(0, 1, **chat), _span(2, 3, trace_id="u", **chat), _span(4, 5), _span(6, 7, trace_id="u")]
    trace = _read(tmp_path, *spans)
    assert trace.sessions
    assert trace.sessions.id.tolist() == [0, 0, 1, 2]


def test_other_spans_are_left_out(tmp_path: Path) -> None:
    tool = {"trace_id": "t", "attributes": {"gen_ai.operation.name": "execute_tool"}}
    agent = _span(0, 9, attributes={"gen_ai.operation.name": "invoke_agent"})
    trace = _read(tmp_path, agent, _span(1, 2, attributes={"gen_ai.operation.name": "chat"}), tool)
    assert len(trace) == 1
    assert "2 spans are no model calls: left out" in trace.notes


def test_failed_calls_are_dropped_and_what_follows_goes_on(tmp_path: Path) -> None:
    failed = _span(2, 3, status={"code": 2})
    failed["attributes"] = {"gen_ai.request.model": "m"}
    trace = _read(tmp_path, _span(0, 1), failed, _span(5, 6, 170))
    assert trace.dropped == {"0 prompt and 0 output tokens": 1}
    assert _waits(trace) == [(0, [], 0), (5, [0], 2)]
    assert "1 later turns share the prompt and output before them, 0 are shorter" in trace.notes[1]


def test_older_names_of_counts(tmp_path: Path) -> None:
    span = _span(0, 1)
    span["attributes"] = {"gen_ai.usage.prompt_tokens": 7, "gen_ai.usage.completion_tokens": 8}
    trace = _read(tmp_path, span)
    assert (trace.prompt_tokens.tolist(), trace.output_tokens.tolist()) == ([7], [8])


def test_texts_share_what_they_have_in_common(tmp_path: Path) -> None:
    first = [{"role": "user", "content": "q" * 120}]
    then = [*first, {"role": "assistant", "content": "a" * 40}, {"role": "user", "content": [{"text": "more"}]}]
    spans = (
        _asked(0, json.dumps(first), "a" * 40),
        _asked(3, then, [{"role": "assistant", "parts": [{"content": "b"}]}]),
    )
    trace = _read(tmp_path, *spans, tokenizer="chars:1")
    assert trace.prompt_tokens.tolist() == [136, 136 + 41 + 10 + 10]
    assert trace.output_tokens.tolist() == [40, 1]
    assert trace.blocks
    one, two = (trace.blocks.ids[a:b].tolist() for a, b in pairwise(trace.blocks.start))
    assert (len(one), one) == (8, two[:8])


def test_texts_need_a_tokenizer_and_counts_take_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has text, and no token counts: choose --tokenizer"):
        _read(tmp_path, _asked(0, [], "x"))
    with pytest.raises(UserError, match=r"spans\[0\]: has token counts but no gen_ai.input.messages: read it without"):
        _read(tmp_path, _span(0, 1), tokenizer="chars:4")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"attributes": 3}, "attributes: must be one JSON object"),
        ({"start_time": "noon"}, "start_time must be a UTC date"),
        ({"end_time": "2026-02-25T09:00:00"}, "end_time .* is before start_time"),
        ({"trace_id": 3}, "must have a trace_id that is a text, but got 3"),
        ({"attributes": {"gen_ai.request.model": "m"}}, "has neither gen_ai.usage.input_tokens nor gen_ai.input"),
        ({"attributes": {"gen_ai.usage.input_tokens": 5}}, "gen_ai.usage.output_tokens must be a whole number"),
    ],
)
def test_faults_say_where(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"trace\.json: spans\[1\]: {says}"):
        _read(tmp_path, _span(0, 1), {**_span(2, 3), **change})


@pytest.mark.parametrize("asked", ["hello", 3, [3], [{"content": "x"}], [{"role": "user"}], {"role": "user"}])
def test_messages_that_are_none(asked: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"spans\[0\]: gen_ai.input.messages"):
        _read(tmp_path, _asked(0, asked, "x"), tokenizer="chars:4")


def test_lists_of_traces(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    path.write_text(json.dumps([{"spans": [_span(0, 1)]}, {"spans": [_span(2, 3)]}]))
    assert len(read_trace(path)) == 2
    path.write_text(json.dumps([_span(0, 1), 3]))
    with pytest.raises(UserError, match=r"trace\.json: entry 2: must be one JSON object"):
        read_trace(path, format="otel")


def _otlp(span: dict[str, Any]) -> dict[str, Any]:
    return {"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {}, "spans": [span]}]}]}


def _protocol_span(begin_s: int, **attributes: dict[str, Any]) -> dict[str, Any]:
    pairs = [{"key": f"gen_ai.{key.replace('__', '.')}", "value": value} for key, value in attributes.items()]
    times = {"startTimeUnixNano": str(begin_s * 10**9), "endTimeUnixNano": str((begin_s + 1) * 10**9)}
    return {"traceId": "t", "spanId": "s", **times, "attributes": pairs}


def test_the_protocols_own_json(tmp_path: Path) -> None:
    path = tmp_path / "spans.jsonl"
    counts = {"usage__input_tokens": {"intValue": "100"}, "usage__output_tokens": {"intValue": 60}}
    rows = [_otlp(_protocol_span(begin, **counts)) for begin in (1_700_000_000, 1_700_000_005)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    trace = read_trace(path)
    assert trace.prompt_tokens.tolist() == [100, 100]
    assert _waits(trace) == [(0, [], 0), (5, [0], 4)]


def test_the_protocols_structured_messages(tmp_path: Path) -> None:
    pairs = [{"key": "role", "value": {"stringValue": "user"}}, {"key": "content", "value": {"stringValue": "x"}}]
    asked = {"arrayValue": {"values": [{"kvlistValue": {"values": pairs}}]}}
    span = _protocol_span(1, input__messages=asked, output__text={"stringValue": "abc"})
    path = tmp_path / "spans.json"
    path.write_text(json.dumps(_otlp(span), indent=1))
    trace = read_trace(path, tokenizer="chars:1")
    assert (trace.prompt_tokens.tolist(), trace.output_tokens.tolist()) == ([17], [3])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"startTimeUnixNano": "soon"}, "startTimeUnixNano must be a whole number"),
        ({"endTimeUnixNano": "0"}, "end_time 0 is before start_time"),
        ({"attributes": {}}, "attributes must be a list"),
        ({"attributes": [3]}, r"attributes\[0\]: must be one JSON object"),
        ({"attributes": [{"key": "a"}]}, r"attributes\[0\]: value: must be one JSON object"),
    ],
)
def test_faults_of_the_protocol(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    path = tmp_path / "spans.jsonl"
    counts = {"usage__input_tokens": {"intValue": "100"}, "usage__output_tokens": {"intValue": 60}}
    path.write_text(json.dumps(_otlp({**_protocol_span(5, **counts), **change})))
    with pytest.raises(UserError, match=rf"spans.jsonl:1: resourceSpans\[0\]: scopeSpans\[0\]: spans\[0\]: {says}"):
        read_trace(path)


def test_values_nested_without_end(tmp_path: Path) -> None:
    """As deep as the parser allows."""
    row = json.dumps(_otlp(_protocol_span(5, request__model={"stringValue": "x"})))
    deep = '{"arrayValue": {"values": [' * 330 + '{"stringValue": "x"}' + "]}}" * 330
    path = tmp_path / "spans.jsonl"
    path.write_text(json.dumps({"spans": [_span(0, 1)]}) + "\n" + row.replace('{"stringValue": "x"}', deep))
    with pytest.raises(UserError, match=r"nested too deep|has neither gen_ai.usage.input_tokens"):
        read_trace(path)
