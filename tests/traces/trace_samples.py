"""A small sample of every trace format, made here: header, rows, and how to spoil a row's figures."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

COLUMNS = {"arrival": "t", "input": "in", "output": "out"}


@dataclass(frozen=True)
class Sample:
    """`rows` requests; `line(i, prompt, output, arrival)` writes one, a figure replaced by what is given as text.

    Rows of text (`of_text`) have no figures to spoil, and no arrivals.
    """

    head: tuple[str, ...]
    line: Callable[..., str]
    good: tuple[tuple[int, int], ...] = ((700, 10), (30, 1), (1025, 200))
    arrivals_s: tuple[float, ...] = (0.0, 0.5, 2.0)
    options: dict[str, Any] = field(default_factory=dict)
    of_text: bool = False

    def text(self) -> str:
        """A sound file."""
        return self.with_rows(self.line(i, *lengths) for i, lengths in enumerate(self.good))

    def with_rows(self, rows: Any) -> str:
        return "".join(f"{line}\n" for line in (*self.head, *rows))


def _azure(i: int, prompt: Any, output: Any, arrival: Any = None) -> str:
    stamps = ("2024-05-10 00:00:00", "2024-05-10 00:00:00.5000000", "2024-05-10 00:00:02+00:00")
    return f"{arrival or stamps[i]},{prompt},{output}"


def _mooncake(i: int, prompt: Any, output: Any, arrival: Any = None) -> str:
    count = -(-prompt // 512) if isinstance(prompt, int) and prompt > 0 else 1
    ids = json.dumps([0, *range(10 * i + 1, 10 * i + count)])
    time = arrival or (5000, 5500, 7000)[i]
    return f'{{"timestamp": {time}, "input_length": {prompt}, "output_length": {output}, "hash_ids": {ids}}}'


def _own(i: int, prompt: Any, output: Any, arrival: Any = None) -> str:
    return f'{{"arrival_s": {arrival or (0.0, 0.5, 2.0)[i]}, "prompt_tokens": {prompt}, "output_tokens": {output}}}'


SAMPLES = {
    "azure": Sample(("TIMESTAMP,ContextTokens,GeneratedTokens",), _azure),
    "burstgpt": Sample(
        ("Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type",),
        lambda i, p, o, a=None: f"{a or (5, 45, 118)[i]},GPT-4,{p},{o},0,Conversation log",
        arrivals_s=(0.0, 40.0, 113.0),
    ),
    "generic": Sample(
        ("id,t,in,out",),
        lambda i, p, o, a=None: f'"r,{i}",{a or (100.0, 100.5, 102.0)[i]},{p},{o}',
        options={"columns": COLUMNS},
    ),
    "kvsim": Sample(('{"kvsim_trace": 1, "block_tokens": 0}',), _own),
    "llmservingsim": Sample(
        (),
        lambda i, p, o, a=None: (
            f'{{"input_toks": {p}, "output_toks": {o}, "arrival_time_ns": {a or (7, 500000007, 2000000007)[i]}}}'
        ),
    ),
    "mooncake": Sample((), _mooncake),
    "vidur": Sample(
        ("arrived_at,num_prefill_tokens,num_decode_tokens",),
        lambda i, p, o, a=None: f"{a or (0.0, 0.5, 2.0)[i]},{p},{o}",
    ),
}


# sessions and conversations: a row is a session of one call


def _weka(i: int, prompt: Any, output: Any, arrival: Any = None) -> str:
    ids = list(range(1, 1 + prompt // 64)) if isinstance(prompt, int) else [1]
    figures = f'"t": {arrival or (0.0, 0.5, 2.0)[i]}, "in": {prompt}, "out": {output}, "api_time": 1.5'
    return f'{{"id": "s{i}", "block_size": 64, "requests": [{{"type": "n", {figures}, "hash_ids": {ids}}}]}}'


def _tracelab(i: int, prompt: Any, output: Any, arrival: Any = None) -> str:
    stamp = arrival or ('"2026-06-01T05:40:20Z"', '"2026-06-01T05:40:20.500Z"', '"2026-06-01T05:40:22.000Z"')[i]
    events = f'[{{"event_type": "user_message", "timestamp": {stamp}}}]'
    figures = f'"input_tokens_total": {prompt}, "output_tokens": {output}, "prefix_tokens": 0'
    return f'{{"session_id": "s{i}", "round_index": 0, {figures}, "timing_events": {events}}}'


def _sub_requests(i: int, prompt: Any, output: Any, arrival: Any = None) -> str:
    call = f'{{"input_toks": {prompt}, "output_toks": {output}, "tool_duration_ns": 5}}'
    time = arrival or (7, 500000007, 2000000007)[i]
    return f'{{"session_id": "s{i}", "arrival_time_ns": {time}, "sub_requests": [{call}]}}'


def _otel(i: int, prompt: Any, output: Any, arrival: Any = None) -> str:
    seconds = ("00", "00.5", "02")[i]
    begin = arrival or f'"2026-02-25T10:00:{seconds}"'
    usage = f'"gen_ai.usage.input_tokens": {prompt}, "gen_ai.usage.output_tokens": {output}'
    times = f'"start_time": {begin}, "end_time": "2026-02-25T10:00:09.000000Z"'
    return f'{{"trace_id": "t{i}", "span_id": "{i}", {times}, "attributes": {{{usage}}}}}'


def _sharegpt(i: int, prompt: Any, output: Any, arrival: Any = None) -> str:
    around = len("user\n" + "\n" + "assistant\n")
    asked, answered = (json.dumps("x" * n) if isinstance(n, int) else n for n in (prompt - around, output))
    said = f'{{"from": "human", "value": {asked}}}, {{"from": "gpt", "value": {answered}}}'
    return f'{{"id": "{i}", "conversations": [{said}]}}'


def _openai(i: int, prompt: Any, output: Any, arrival: Any = None) -> str:
    return f'{{"prompt": {json.dumps("x" * prompt)}, "max_tokens": {output}}}'


def _lmcache(i: int, prompt: Any, output: Any, arrival: Any = None) -> str:
    around = len("user\n" + "\n" + "assistant\n")
    said = f'[{{"role": "user", "content": {json.dumps("x" * (prompt - around))}}}]'
    return f'{{"session_id": "s{i}", "model": "m", "input": {said}, "output_length": {output}, "pre_gap": 0.5}}'


_TEXT = {"arrivals_s": (0.0, 0.0, 0.0), "options": {"lengths_only": True, "tokenizer": "chars:1"}, "of_text": True}
_LMCACHE = {**_TEXT, "options": {"tokenizer": "chars:1"}}

SAMPLES |= {
    "openai": Sample((), _openai, **_TEXT),
    "otel": Sample((), _otel),
    "sharegpt": Sample((), _sharegpt, **_TEXT),
    "lmcache_agentic": Sample((), _lmcache, **_LMCACHE),
    "llmservingsim_sessions": Sample((), _sub_requests),
    "tracelab": Sample((), _tracelab),
    "weka": Sample((), _weka),
}


# rows that name their session, hashes of several kinds, results of benchmarks


def _ids(i: int, prompt: Any, size: int, down: bool = False) -> list[int]:
    if not isinstance(prompt, int) or prompt < 0:
        return [1]
    return [100 * i + at for at in range(prompt // size if down else -(-prompt // size))]


def _mooncake_sessions(i: int, prompt: Any, output: Any, arrival: Any = None) -> str:
    figures = f'"timestamp": {arrival or (5000, 5500, 7000)[i]}, "input_length": {prompt}, "output_length": {output}'
    return f'{{"session_id": "s{i}", {figures}, "hash_ids": {_ids(i, prompt, 512)}}}'


def _bailian(i: int, prompt: Any, output: Any, arrival: Any = None) -> str:
    figures = f'"timestamp": {arrival or (5.0, 5.5, 7.0)[i]}, "input_length": {prompt}, "output_length": {output}'
    return f'{{"chat_id": {i}, "parent_chat_id": -1, {figures}, "turn": 1, "hash_ids": {_ids(i, prompt, 16)}}}'


def _kvcache_simulator(i: int, prompt: Any, output: Any, arrival: Any = None) -> str:
    figures = f'"timestamp": {arrival or (5.0, 5.5, 7.0)[i]}, "input_length": {prompt}, "output_length": {output}'
    ids = json.dumps([f"h{name}" for name in _ids(i, prompt, 64, down=True)])
    return f'{{"block_size": 64, "hash_ids": {ids}, {figures}}}'


def _dynamo(i: int, prompt: Any, output: Any, arrival: Any = None) -> str:
    replay = f'"trace_block_size": 64, "input_length": {prompt}, "input_sequence_hashes": {_ids(i, prompt, 64)}'
    figures = f'"request_received_ms": {arrival or (5000, 5500, 7000)[i]}, "output_tokens": {output}'
    request = f'{{{figures}, "ttft_ms": 20.5, "total_time_ms": 100, "replay": {{{replay}}}}}'
    return f'{{"schema": "dynamo.request.trace.v1", "event_type": "request_end", "request": {request}}}'


def _aiperf(i: int, prompt: Any, output: Any, arrival: Any = None) -> str:
    lengths = (("input_sequence_length", prompt), ("output_sequence_length", output))
    metrics = ", ".join(f'"{name}": {{"value": {value}, "unit": "tokens"}}' for name, value in lengths)
    start = arrival or (7, 500000007, 2000000007)[i]
    return f'{{"metadata": {{"session_num": {i}, "request_start_ns": {start}}}, "metrics": {{{metrics}}}}}'


def _vllm_bench(i: int, prompt: Any, output: Any, arrival: Any = None) -> str:
    lists = {
        "start_times": arrival or (3.25, 3.75, 5.25)[i],
        "input_lens": prompt,
        "output_lens": output,
        "ttfts": 0.25,
    }
    figures = ", ".join(f'"{name}": [{value}]' for name, value in lists.items())
    return f'{{"num_prompts": 1, "completed": 1, "total_input_tokens": 1, {figures}, "itls": [[0.01]]}}'


def _sglang_bench(i: int, prompt: Any, output: Any, arrival: Any = None) -> str:
    return _vllm_bench(i, prompt, output, arrival).replace('"num_prompts": 1', '"input_throughput": 1.5')


_BLIS = (
    "request_id,client_id,session_id,prefix_group,prefix_length,input_tokens,output_tokens,arrival_time_us,"
    "first_chunk_time_us,last_chunk_time_us,status"
)

SAMPLES |= {
    "aiperf": Sample((), _aiperf),
    "apex": Sample(
        (),
        lambda i, p, o, a=None: (
            f'{{"ContextTokens": {p}, "GeneratedTokens": {o}, "StartTimeOffset": {a or (7, 500000007, 2000000007)[i]}}}'
        ),
    ),
    "bailian": Sample((), _bailian),
    "blis": Sample((_BLIS,), lambda i, p, o, a=None: f"{i},c,,,0,{p},{o},{a or (10, 500010, 2000010)[i]},0,0,ok"),
    "burstgpt_sessions": Sample(
        ("Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type",),
        lambda i, p, o, a=None: f"{a or (5, 45, 118)[i]},,2,GPT-4,{p},{o},0,Conversation log",
        arrivals_s=(0.0, 40.0, 113.0),
    ),
    "dynamo": Sample((), _dynamo),
    "frontier": Sample(
        ("arrived_at,num_prefill_tokens,num_decode_tokens,session_id,block_hash_ids",),
        lambda i, p, o, a=None: f"{a or (0.0, 0.5, 2.0)[i]},{p},{o},{i},{'|'.join(map(str, _ids(i, p, 16, True)))}",
    ),
    "kvcache_simulator": Sample((), _kvcache_simulator),
    "mooncake_sessions": Sample((), _mooncake_sessions),
    "splitwise": Sample(
        ("request_id,request_type,application_id,arrival_timestamp,batch_size,prompt_size,token_size",),
        lambda i, p, o, a=None: f"{i},2,0,{a or (0.0, 0.5, 2.0)[i]},1,{p},{o}",
    ),
    "generic_sessions": Sample(
        ("id,t,in,out,s,w",),
        lambda i, p, o, a=None: f'"r,{i}",{a or (100.0, 100.5, 102.0)[i]},{p},{o},,',
        options={"columns": {**COLUMNS, "session": "s", "gap": "w"}},
    ),
    "generic_timed": Sample(
        ("id,t,in,out,first,end",),
        lambda i, p, o, a=None: f'"r,{i}",{a or (100.0, 100.5, 102.0)[i]},{p},{o},,105.5',
        options={"columns": {**COLUMNS, "first": "first", "done": "end"}},
    ),
    "sglang_bench": Sample((), _sglang_bench),
    "vllm_bench": Sample((), _vllm_bench),
}
