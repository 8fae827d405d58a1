"""Caches outside HBM on links that replicas share: half each, the whole when alone, and jumps that equal steps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_exact import outcome, traces

import kvsim.find as find
from kvsim.engine.check import checker
from kvsim.engine.simulate import Simulation, simulate
from kvsim.replay import serving_preset
from kvsim.traces.trace import Trace
from kvsim.traits.policy import policy


def replayed(trace: Trace, hw: str, text: str, replicas: int, exact: bool = False, **own: object) -> Simulation:
    return simulate(
        trace, find.machine(hw), find.model("llama-3-8b"), policy(text), serving_preset("vllm", own), exact=exact,
        tp=1, replicas=replicas, observers=(checker,),
    )  # fmt: skip


def tpot_s(run: Simulation) -> np.ndarray:
    columns = run.columns
    return (columns.done_s - columns.first_token_s) / (columns.output_tokens - 1)


def test_two_replicas_on_one_drive_decode_at_half_its_rate_each() -> None:
    """8,192 tokens are 1.07 GB a step, 165 ms at 6.5 GB/s: twice that beside another. Host links are not shared."""
    both = Trace("both", np.zeros(2), np.full(2, 8192), np.full(2, 40))
    apart, together = (replayed(both, hw, "offload:tier=flash", 2) for hw in ("h100+nvme", "h100x2+nvme"))
    alone_s = 8192 * 131072 / 6.5e9
    assert tpot_s(apart) == pytest.approx(alone_s, rel=0.05)
    assert tpot_s(together) == pytest.approx(2 * alone_s, rel=0.05)
    links = [replayed(both, hw, "headinfer", 2) for hw in ("h100", "h100x2")]
    assert outcome(links[0]) == outcome(links[1])  # a host link each, and host DRAM has bandwidth for both


def test_who_is_left_has_the_drive_alone() -> None:
    """The second request is twice as long: it decodes at half the rate until the first is done, then at all of it."""
    trace = Trace("two lengths", np.zeros(2), np.full(2, 8192), np.array([40, 80]))
    run = replayed(trace, "h100x2+nvme", "offload:tier=flash", 2)
    first, second = tpot_s(run)
    alone_s = 8192 * 131072 / 6.5e9
    assert first == pytest.approx(2 * alone_s, rel=0.05)
    assert second == pytest.approx((2 + 1) / 2 * alone_s, rel=0.05)


@settings(max_examples=60, deadline=None)
@given(
    trace=traces(),
    text=st.sampled_from(["offload:tier=flash", "headinfer:tier=cxl", "offload"]),
    room=st.sampled_from([0, 100]),
    replicas=st.sampled_from([2, 4, 5]),
    routing=st.sampled_from(["round_robin", "least_tokens"]),
)
def test_jumps_equal_steps(trace: Trace, text: str, room: int, replicas: int, routing: str) -> None:
    runs = [
        replayed(trace, "h100x4+nvme+cxl", text, replicas, exact, kv_blocks=room, routing=routing)
        for exact in (False, True)
    ]
    assert outcome(runs[0]) == outcome(runs[1])
