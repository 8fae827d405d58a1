"""Replays with each kind of prefix cache: jumps equal steps, invariants hold, nothing hits what was never computed."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_exact import both, traces

from kvsim import find
from kvsim.engine.check import checker
from kvsim.engine.simulate import Simulation, simulate
from kvsim.errors import UserError
from kvsim.replay import serving_preset
from kvsim.traces.stats import leading_seen
from kvsim.traces.trace import Blocks, Sessions, Trace
from kvsim.traits.eviction import eviction
from kvsim.traits.policy import policy

ONLINE = [name for name in find.paper_names("prefix") if not eviction(name).knows_future]
KINDS = [{"prefix_eviction": name} for name in ONLINE if name != "lru"] + [{"prefix_cache": "radix"}]


def in_sessions(trace: Trace, every: int) -> Trace:
    """Requests dealt out to sessions that wait for nothing."""
    none = np.zeros(len(trace) + 1, np.int64)
    return replace(trace, sessions=Sessions(np.arange(len(trace)) % every, np.array([], np.int64), none, None))


def replayed(trace: Trace, **own: object) -> Simulation:
    preset = serving_preset("vllm", own)
    return simulate(
        trace, find.machine("h100"), find.model("llama-3-8b"), policy("full"), preset, observers=(checker,)
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    trace=traces(),
    kind=st.sampled_from(KINDS),
    room=st.sampled_from([70, 100, 200]),
    seqs=st.sampled_from([1, 3, 8]),
    preemption=st.sampled_from(["recompute", "swap"]),
)
def test_jumps_equal_steps(trace: Trace, kind: dict[str, str], room: int, seqs: int, preemption: str) -> None:
    own = {"kv_blocks": room, "max_num_seqs": seqs, "preemption": preemption, **kind}
    both(in_sessions(trace, 4), "full", "vllm", own)


def shared(requests: int = 150, families: int = 12) -> Trace:
    """Prompts of 64-token blocks that share beginnings, some families far more often asked for than others."""
    rng = np.random.default_rng(5)
    family = np.minimum(rng.zipf(1.3, requests) - 1, families - 1)
    common = rng.integers(1, 12, requests)
    own = rng.integers(0, 6, requests)
    ids = [
        np.concatenate([f * 100 + np.arange(c), 10_000 * (i + 1) + np.arange(o)])
        for i, (f, c, o) in enumerate(zip(family, common, own, strict=True))
    ]
    start = np.concatenate([[0], np.cumsum(common + own)])
    blocks = Blocks(np.concatenate(ids), start, 64)
    outputs = rng.integers(1, 40, requests)
    return Trace("shared", np.sort(rng.uniform(0, 20, requests)), (common + own) * 64, outputs, blocks)


@pytest.mark.parametrize("kind", [{"prefix_eviction": "lru"}, *KINDS], ids=lambda kind: "-".join(kind.values()))
def test_hits_are_of_what_came_before(kind: dict[str, str]) -> None:
    """At most the infinite cache's; room for all blocks gives at least 9 of 10 of these, room for few gives some."""
    trace = in_sessions(shared(), 7)
    assert trace.blocks is not None
    infinite = np.minimum(leading_seen(trace.blocks) * 64, trace.prompt_tokens - 1)
    found = []
    for room in (150, 10_000):
        run = replayed(trace, kv_blocks=room, max_num_seqs=1, null_blocks=0, **kind)
        hits = run.columns.hit_tokens
        assert not run.columns.rejected.any() and (hits <= infinite).all()
        found.append(int(hits.sum()))
    assert 0 < found[0] < found[1]
    assert found[1] > 0.9 * infinite.sum()


def test_a_block_of_one_token_is_a_page_of_a_radix_tree() -> None:
    """Blocks of 64 tokens found token by token: the hit is all but the last token, not all but the last 16."""
    blocks = Blocks(np.array([7, 8, 7, 8]), np.array([0, 2, 4]), 64)
    trace = Trace("t", np.array([0.0, 1.0]), np.array([128, 128]), np.array([2, 2]), blocks)
    run = replayed(trace, prefix_cache="radix", block_tokens=1)
    assert run.columns.hit_tokens.tolist() == [0, 127]


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"prefix_eviction": "belady"}, "must know the future, which an engine does not: take one of arc, fifo, lfu"),
        ({"prefix_eviction": "succinct:accuracy=1"}, "must know the future"),
        ({"prefix_eviction": "lur", "prefix_caching": "false"}, "unknown eviction 'lur': did you mean lru"),
        ({"prefix_eviction": "s3-fifo:small=2"}, "small must be in"),
        ({"prefix_eviction": "session-aware"}, "t: prefix_eviction=session-aware needs sessions"),
        (
            {"prefix_cache": "radix", "prefix_eviction": "lfu"},
            "serving 'vllm': prefix_cache=radix gives up .* no prefix_eviction=lfu",
        ),
    ],
)
def test_what_an_engine_cannot_do_is_said(own: dict[str, str], message: str) -> None:
    trace = Trace("t", np.zeros(1), np.array([10]), np.array([1]))
    with pytest.raises(UserError, match=message):
        replayed(trace, **own)
