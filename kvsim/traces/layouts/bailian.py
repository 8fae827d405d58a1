"""Qwen-Bailian, JSON lines with seconds, blocks of 16 tokens, and chats whose turns come at their stamps."""

import json
from collections.abc import Iterator

import numpy as np

from kvsim.traces.blocks import one_by_one
from kvsim.traces.columns import lists, rows
from kvsim.traces.trace import Trace

KIND = "jsonl"
HOLDS = NEEDS = frozenset({"blocks", "sessions"})
UNITS_PER_S = 0


def lines(trace: Trace) -> Iterator[str]:
    assert trace.blocks and trace.sessions
    blocks, sessions = one_by_one(trace.blocks), trace.sessions
    waits = np.diff(sessions.start)
    parent = np.full(len(trace), -1, np.int64)
    parent[waits > 0] = sessions.parents[sessions.start[:-1][waits > 0]]
    turn: list[int] = []
    ids = lists(blocks.ids, blocks.start)
    for number, ((arrival, prompt, output), before, hashes) in enumerate(
        zip(rows(trace), parent.tolist(), ids, strict=True)
    ):
        turn.append(turn[before] + 1 if before >= 0 else 1)
        row: dict[str, object] = {"chat_id": number, "parent_chat_id": before, "timestamp": arrival}
        row |= {"input_length": prompt, "output_length": output, "type": "text", "turn": turn[-1]}
        yield json.dumps(row | {"hash_ids": hashes}) + "\n"
