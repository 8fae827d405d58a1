"""Formats whose rows name their session, carry hashes of any kind, or come from a benchmark of a real server."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from kvsim.errors import UserError
from kvsim.traces.read import read_trace
from kvsim.traces.trace import Trace


def _trace(folder: Path, text: str) -> Trace:
    path = folder / "trace"
    path.write_text(text)
    return read_trace(path)


def _lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _links(trace: Trace) -> list[list[int]]:
    assert trace.sessions
    start = trace.sessions.start
    return [trace.sessions.parents[a:b].tolist() for a, b in itertools.pairwise(start)]


def test_mooncake_turns_have_a_delay_instead_of_a_stamp(tmp_path: Path) -> None:
    trace = _trace(
        tmp_path,
        _lines(
            {"session_id": "a", "timestamp": 1000, "input_length": 600, "output_length": 9, "hash_ids": [1, 2]},
            {"session_id": "b", "timestamp": 1500, "input_length": 10, "output_length": 9, "hash_ids": [7]},
            {"session_id": "a", "delay": 250, "input_length": 1100, "output_length": 9, "hash_ids": [1, 3, 4]},
        ),
    )
    assert trace.sessions and trace.sessions.gap_s is not None and not trace.sessions.timed
    assert trace.arrival_s.tolist() == [0.0, 0.25, 0.5]  # the later turn's is made up: as if no answer took any time
    assert _links(trace) == [[], [0], []]
    assert trace.sessions.gap_s.tolist() == [0.0, 0.25, 0.0]
    assert trace.blocks and trace.blocks.tokens == 512


def test_mooncake_turns_without_stamp_or_delay_are_refused(tmp_path: Path) -> None:
    first = {"session_id": "a", "timestamp": 1, "input_length": 6, "output_length": 9, "hash_ids": [1]}
    later = {"session_id": "a", "input_length": 6, "output_length": 9, "hash_ids": [1]}
    with pytest.raises(UserError, match=r"trace:2: has neither timestamp nor delay"):
        _trace(tmp_path, _lines(first, later))
    with pytest.raises(UserError, match=r"trace:2: either all rows of a trace have hash_ids, or none has"):
        _trace(tmp_path, _lines(first, {**later, "delay": 1, "hash_ids": None}))


def test_dynamo_rows_of_other_names_are_read(tmp_path: Path) -> None:
    row = {"session_id": "a", "created_time": 1.5, "input_tokens": 6, "output_tokens": 9, "delay_ms": 3}
    trace = _trace(tmp_path, _lines(row, {**row, "created_time": 4.5}))
    assert trace.blocks is None
    assert trace.arrival_s.tolist() == [0.0, 0.003]


def test_burstgpt_gaps_are_what_elapsed_times_leave(tmp_path: Path) -> None:
    head = "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    rows = "5,x,2.5,G,10,4,14,C\n6,,1,G,10,0,10,A\n9,x,7,G,30,4,34,C\n12,x,1,G,50,4,54,C\n13,,2,G,7,4,11,A\n"
    trace = _trace(tmp_path, head + rows)
    assert trace.sessions and trace.sessions.gap_s is not None and trace.measured
    assert _links(trace) == [[], [0], [1], []]
    assert trace.sessions.gap_s.tolist() == [0.0, 1.5, 0.0, 0.0]
    assert trace.measured.e2e_s.tolist() == [2.5, 7.0, 1.0, 2.0]
    assert trace.dropped == {"0 output tokens": 1}
    assert any(note.startswith("1 turns came before the answer") for note in trace.notes)


def test_a_missing_elapsed_time_counts_as_none_and_is_said(tmp_path: Path) -> None:
    head = "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    trace = _trace(tmp_path, head + "5,x,,G,10,4,14,C\n9,x,2,G,30,4,34,C\n12,x,1,G,50,4,54,C\n")
    assert trace.sessions and trace.sessions.gap_s is not None
    assert trace.sessions.gap_s.tolist() == [0.0, 4.0, 1.0]
    assert any(note.startswith("1 turns follow an answer that took nobody knows how long") for note in trace.notes)


def test_frontier_joins_hashes_with_bars(tmp_path: Path) -> None:
    head = "arrived_at,num_prefill_tokens,num_decode_tokens,session_id,block_hash_ids\n"
    trace = _trace(tmp_path, head + "0.0,32,2,7,11|22\n1.0,48,2,7,11|22|33\n2.0,20,2,,99\n")
    assert trace.blocks and trace.blocks.tokens == 16 and trace.sessions
    assert trace.blocks.ids.tolist() == [0, 1, 0, 1, 2, 3]
    assert trace.sessions.gap_s is None
    assert _links(trace) == [[], [0], []]


def test_hashes_of_64_bits_or_texts_become_numbers(tmp_path: Path) -> None:
    big = [14879255164371896291, 274632075616497421]
    replay = {"trace_block_size": 64, "input_length": 128, "input_sequence_hashes": big}
    request = {"output_tokens": 16, "request_received_ms": 1777312800000, "total_time_ms": 1000.5, "replay": replay}
    event = {"schema": "dynamo.request.trace.v1", "event_type": "request_end", "request": request}
    payload = {"schema": "dynamo.request.trace.v1", "event_type": "request_payload"}
    trace = _trace(tmp_path, _lines({"event": event}, {"event": payload}, {"event": event}))
    assert trace.blocks and trace.measured
    assert (trace.blocks.ids.tolist(), trace.blocks.tokens) == ([0, 1, 0, 1], 64)
    assert trace.measured.e2e_s.tolist() == [1.0005, 1.0005]
    assert np.isnan(trace.measured.ttft_s).all()
    assert trace.dropped == {"events that are not the end of a request": 1}


def test_kvcache_simulator_rows_may_have_hashes_only(tmp_path: Path) -> None:
    row = {"block_size": 64, "hash_ids": ["a", "b"], "input_length": 128}
    trace = _trace(tmp_path, _lines(row, {**row, "hash_ids": ["a", 5]}))
    assert trace.blocks
    assert trace.blocks.ids.tolist() == [0, 1, 0, 2]
    assert trace.output_tokens.tolist() == [1, 1]
    assert sum("rows without" in note for note in trace.notes) == 2
    with pytest.raises(UserError, match=r"trace:2: block_size must be 64, as above, but got 16"):
        _trace(tmp_path, _lines(row, {**row, "block_size": 16}))


def test_vllm_results_give_arrivals_and_latencies(tmp_path: Path) -> None:
    result = {
        "num_prompts": 3, "completed": 2, "total_input_tokens": 30, "start_times": [10.5, 11.0, 12.0],
        "input_lens": [10, 20, 30], "output_lens": [3, 4, 5], "ttfts": [0.5, 0.25, 0.0],
        "itls": [[0.1, 0.1], [0.25], []], "errors": ["", "", "timeout"],
    }  # fmt: skip
    trace = _trace(tmp_path, json.dumps(result, indent=1))
    assert trace.measured
    assert trace.arrival_s.tolist() == [0.0, 0.5]
    assert trace.measured.ttft_s.tolist() == [0.5, 0.25]
    assert trace.measured.e2e_s.tolist() == pytest.approx([0.7, 0.5])
    assert trace.dropped == {"failed requests": 1}
    with pytest.raises(UserError, match=r"lists must be of one length"):
        _trace(tmp_path, json.dumps({**result, "ttfts": [0.5]}))
    totals = {"num_prompts": 1, "completed": 1, "total_input_tokens": 1}
    with pytest.raises(UserError, match=r"has no 'input_lens', so nothing of single requests: run `vllm bench serve"):
        _trace(tmp_path, json.dumps(totals))
    with pytest.raises(UserError, match=r"bench_serving` with --output-details"):
        _trace(tmp_path, json.dumps({**totals, "input_throughput": 2.5}))


def test_results_of_several_runs_and_without_stamps(tmp_path: Path) -> None:
    runs = [{
        "num_prompts": 2, "completed": 2, "total_input_tokens": 30, "start_times": [begin, begin + 0.5],
        "input_lens": [10, 20], "output_lens": [3, 4], "ttfts": [0.5, 0.0], "itls": [[0.25], []],
    } for begin in (10, 70)]  # fmt: skip
    trace = _trace(tmp_path, _lines(*runs))
    assert trace.arrival_s.tolist() == [0, 0.5, 60, 60.5]
    assert trace.sessions is None or len(set(trace.sessions.id.tolist())) == 4
    assert trace.measured and np.isnan(trace.measured.e2e_s[1])
    unstamped = [{key: value for key, value in run.items() if key != "start_times"} for run in runs]
    with pytest.raises(UserError, match=r"trace:1: has no 'start_times', .*lengths_from"):
        _trace(tmp_path, _lines(*unstamped))
    assert len(read_trace(tmp_path / "trace", lengths_only=True)) == 4


def test_aiperf_leaves_out_what_was_not_measured(tmp_path: Path) -> None:
    def row(start: int, turn: int | None, **more: object) -> dict[str, object]:
        metadata = {"request_start_ns": start, "conversation_id": "c", "turn_index": turn, **more}
        metrics = {
            "input_sequence_length": {"value": 50, "unit": "tokens"},
            "output_sequence_length": {"value": 5, "unit": "tokens"},
            "time_to_first_token": {"value": 20.0, "unit": "ms"},
            "request_latency": {"value": 500.0, "unit": "ms"},
        }
        return {"metadata": metadata, "metrics": metrics, "error": None}

    rows = [
        row(0, 0, benchmark_phase="warmup"),
        row(10**9, 0),
        row(2 * 10**9, 1),
        row(3 * 10**9, 2, was_cancelled=True),
    ]
    trace = _trace(tmp_path, _lines(*rows))
    assert trace.sessions and trace.sessions.gap_s is not None and trace.measured
    assert trace.sessions.gap_s.tolist() == [0.0, 0.5]
    assert trace.measured.ttft_s.tolist() == [0.02, 0.02]
    assert trace.dropped == {"requests of the warm-up": 1, "cancelled requests": 1}


def test_blis_groups_share_their_prefix(tmp_path: Path) -> None:
    head = (
        "request_id,client_id,session_id,prefix_group,prefix_length,input_tokens,output_tokens,arrival_time_us,"
        "first_chunk_time_us,last_chunk_time_us,status,think_time_us\n"
    )
    rows = (
        "1,c,s,g,40,64,5,1000000,1200000,1500000,ok,\n2,c,,g,32,48,5,1100000,0,0,ok,\n3,c,s,,0,20,5,3000000,0,0,ok,7\n"
    )
    trace = _trace(tmp_path, head + rows + "4,c,,,0,20,5,3000000,0,0,timeout,\n")
    assert trace.blocks and trace.sessions and trace.measured and trace.sessions.gap_s is not None
    assert trace.blocks.ids.tolist() == [0, 1, 2, 3, 0, 1, 4, 5]
    assert trace.sessions.gap_s.tolist() == [0.0, 0.0, 7e-6]
    assert trace.measured.ttft_s[0] == 0.2 and trace.measured.e2e_s[0] == 0.5
    assert trace.dropped == {"failed requests": 1}
    with pytest.raises(UserError, match=r"prefix_length 99 must be at most input_tokens 20"):
        _trace(tmp_path, head + "1,c,s,g,99,20,5,1,0,0,ok,\n")


def test_token_ids_share_blocks(tmp_path: Path) -> None:
    common = list(range(32))
    rows = [
        {"input_toks": len(ids), "output_toks": 1, "arrival_time_ns": 3, "input_tok_ids": ids}
        for ids in (common + [7] * 8, common + [8] * 20, [9, *common])
    ]
    trace = _trace(tmp_path, _lines(*rows))
    assert trace.blocks and trace.blocks.tokens == 16
    assert trace.blocks.ids.tolist() == [0, 1, 0, 1, 2, 3, 4]


NAMED = {"arrival": "t", "input": "in", "output": "out", "session": "s"}


def test_columns_named_by_the_user_may_tell_sessions(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_text("t,in,out,s,w\n0,5,6,a,\n1000,7,8,b,\n3000,9,1,a,500\n2000,4,4,,\n")
    trace = read_trace(path, columns={**NAMED, "gap": "w"}, time_unit="ms")
    assert trace.arrival_s.tolist() == [0, 1, 2, 3]
    assert _links(trace) == [[], [], [], [0]]
    assert trace.sessions and trace.sessions.gap_s is not None
    assert trace.sessions.gap_s.tolist() == [0, 0, 0, 0.5]
    open_loop = read_trace(path, columns=NAMED, time_unit="ms")
    assert open_loop.sessions and open_loop.sessions.gap_s is None
    path.write_text(_lines({"t": 0, "in": 5, "out": 6, "s": 3}, {"t": 1, "in": 5, "out": 6, "s": 3}))
    assert _links(read_trace(path, columns=NAMED)) == [[], [0]]
    path.write_text(_lines({"t": 0, "in": 5, "out": 6, "s": [3]}))
    with pytest.raises(UserError, match="trace:1: s must be a text or a whole number, but got a list"):
        read_trace(path, columns=NAMED)
    with pytest.raises(UserError, match="session is missing; a gap is the wait"):
        read_trace(path, columns={"arrival": "t", "input": "in", "output": "out", "gap": "w"})
    with pytest.raises(UserError, match="map and time unit are for generic"):
        read_trace(path, columns=NAMED, format="azure")
    with pytest.raises(UserError, match="needs --map with session=COLUMN"):
        read_trace(path, format="generic_sessions")
