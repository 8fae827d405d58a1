"""The curve against the PyPI package kvcache-simulator (0.1.3), where both define the same thing.

Same: leading cached blocks hit; LRU gives up a prompt's tail before its head; the optimum may leave blocks uncached;
hits of the last half of the requests. Not the same: its FIFO gives up a prompt's head first; its budget is in GiB of a
model's cache, so its simulator is asked for blocks here; a prompt that fills the whole cache is cut a block earlier.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from kvsim.traces.hitcurve import leading_hits
from kvsim.traces.pieces import pieces
from kvsim.traces.read import read_trace
from kvsim.traces.stats import leading_seen
from kvsim.traits.eviction import eviction

kvcache_sim = pytest.importorskip("kvcache_sim", reason="pip install kvcache-simulator==0.1.3 to compare with it")

MOONCAKE = Path(os.environ.get("KVSIM_SHARED", "../shared")) / "traces/mooncake_fast25/conversation_trace.jsonl.gz"
pytestmark = pytest.mark.skipif(not MOONCAKE.exists(), reason=f"no {MOONCAKE}: set KVSIM_SHARED")


@pytest.mark.parametrize("capacity", [1_000, 3_000, 10_000, 30_000])
def test_lru_and_the_bound_on_mooncake(capacity: int) -> None:
    from kvcache_sim.plan import build_execution_plan
    from kvcache_sim.policies import simulate_ceiling, simulate_trie_policy
    from kvcache_sim.trace import parse_trace_file

    trace = read_trace(MOONCAKE)
    assert trace.blocks is not None
    plan = build_execution_plan(parse_trace_file(MOONCAKE, block_size=512))
    last_half = slice(plan.warmup_requests, None)
    prompts = trace.prompt_tokens[last_half]
    assert plan.total_measured_tokens == prompts.sum()

    def tokens(blocks: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> int:
        return int(np.minimum(blocks[last_half] * 512, prompts).sum())

    assert simulate_ceiling(plan).hitTokens == tokens(leading_seen(trace.blocks))
    for name, optimal in (("lru", False), ("belady", True)):
        theirs = simulate_trie_policy(plan, capacity, optimal=optimal)
        assert theirs.measurementMode == "fixed_window"
        assert theirs.hitTokens == tokens(leading_hits(pieces(trace.blocks), eviction(name), capacity))
