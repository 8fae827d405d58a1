"""kv-cache-tester (WEKA), JSON lines of a session each: chains of calls with think times, from their own 0 s."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from kvsim.traces.blocks import one_by_one
from kvsim.traces.trace import Trace

KIND = "jsonl"
HOLDS = frozenset({"blocks", "sessions", "measured"})
NEEDS = HOLDS  # what is not known of a call is left out of it
UNITS_PER_S = 0


def lines(trace: Trace) -> Iterator[str]:
    assert trace.blocks and trace.sessions and trace.measured
    blocks, sessions = one_by_one(trace.blocks), trace.sessions
    order = np.argsort(sessions.id, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(sessions.id[order])) + 1)
    waits = np.diff(sessions.start) > 0
    for calls in sorted(groups, key=lambda rows: int(rows[0])):
        requests: list[dict[str, Any]] = []
        for row in calls.tolist():
            call = {"t": float(trace.arrival_s[row]), "type": "n", "model": "unknown"}
            call |= {"in": int(trace.prompt_tokens[row]), "out": int(trace.output_tokens[row])}
            call["hash_ids"] = blocks.ids[blocks.start[row] : blocks.start[row + 1]].tolist()
            known = {"api_time": trace.measured.e2e_s[row], "ttft": trace.measured.ttft_s[row]}
            if waits[row] and sessions.gap_s is not None:
                known["think_time"] = sessions.gap_s[row]
            requests.append(call | {key: float(value) for key, value in known.items() if not np.isnan(value)})
        session = {"id": str(sessions.id[calls[0]]), "models": ["unknown"], "block_size": blocks.tokens}
        yield json.dumps(session | {"hash_id_scope": "global", "requests": requests}) + "\n"
