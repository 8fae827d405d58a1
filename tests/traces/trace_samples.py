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
