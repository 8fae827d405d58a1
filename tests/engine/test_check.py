"""`--check` finds what it promises to find: each invariant is broken on purpose."""

from collections.abc import Callable

import numpy as np
import pytest

import kvsim.find as find
from kvsim.engine.check import checker
from kvsim.engine.replica import Replica, Span
from kvsim.engine.simulate import simulate
from kvsim.replay import serving_preset
from kvsim.traces.trace import Blocks, Trace
from kvsim.traits.policy import policy


def _clock(replica: Replica, span: Span) -> None:
    span.start_s = float(span.ends[span.steps - 1]) + 1


def _steps(replica: Replica, span: Span) -> None:
    span.ends = [2.0, 1.0]
    span.start_s, span.steps = 0.0, 1


def _memory(replica: Replica, span: Span) -> None:
    replica.scheduler.memory.home += replica.scheduler.memory.capacity[1] + 1


def _leak(replica: Replica, span: Span) -> None:
    replica.scheduler.memory.hbm = replica.scheduler.memory.home = -(10**15)


def _batch(replica: Replica, span: Span) -> None:
    span.plan.decodes = 10**6


def _generated(replica: Replica, span: Span) -> None:
    for seq in replica.scheduler.running.values():
        seq.generated = seq.target + 1


def _twice(replica: Replica, span: Span) -> None:
    running = next(iter(replica.scheduler.running.values()))
    replica.scheduler.waiting.extend([running, running])


@pytest.mark.parametrize(
    ("number", "spoil"),
    [(1, _clock), (1, _steps), (2, _memory), (2, _leak), (4, _batch), (5, _generated), (6, _twice)],
)
def test_a_broken_invariant_is_named(number: int, spoil: Callable[[Replica, Span], None]) -> None:
    def spoiling(replica: Replica, span: Span) -> None:
        checker(replica, span)
        if len(replica.scheduler.running) == 2:
            spoil(replica, span)
            checker(replica, span)

    blocks = Blocks(np.array([0, 1, 0, 2]), np.array([0, 2, 4]), 64)
    trace = Trace("two", np.zeros(2), np.array([100, 120]), np.array([40, 60]), blocks)
    serving = serving_preset("vllm")
    machine, model = find.machine("h100"), find.model("llama-3-8b")
    with pytest.raises(RuntimeError, match=f"invariant {number}:"):
        simulate(trace, machine, model, policy("full"), serving, observers=(spoiling,))
