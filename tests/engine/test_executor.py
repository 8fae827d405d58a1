"""The seam of executors: their seconds drive the clock, and they are told of all that enters and leaves the batch."""

import numpy as np
import pytest
from test_exact import outcome

import kvsim.find as find
from kvsim.engine.check import checker
from kvsim.engine.executor import Executed, ExecutedSpan, Step
from kvsim.engine.replica import Replica, Span
from kvsim.engine.simulate import Simulation, simulate
from kvsim.replay import serving_preset
from kvsim.traces.trace import Blocks, Trace
from kvsim.traits.policy import policy

TIGHT = {"kv_blocks": 120, "max_num_batched_tokens": 512}


class Mirror:
    """Follows the batch by `left` and `entered` alone, and takes made-up seconds."""

    def __init__(self) -> None:
        self.cached: dict[int, int] = {}
        self.away: dict[int, int] = {}
        self.swaps = self.hits = 0
        self.closed = False

    def step(self, step: Step) -> Executed:
        for seq in step.left:
            tokens = self.cached.pop(seq.index)
            if seq.swapped:
                self.away[seq.index] = tokens
                self.swaps += 1
        for seq in step.entered:
            swapped_in = seq.index in self.away
            assert swapped_in == (seq not in step.chunks)
            self.cached[seq.index] = self.away.pop(seq.index) if swapped_in else seq.computed
            self.hits += 0 if swapped_in else seq.computed
        for seq in step.chunks:
            assert self.cached[seq.index] == seq.computed
            self.cached[seq.index] += seq.chunk
        for seq in step.decoding:
            self.cached[seq.index] += 1
            assert self.cached[seq.index] == step.context(seq)
        assert len(step.decoding) == step.plan.decodes
        seconds = 1e-3 * (1 + len(step.decoding)) + 1e-5 * sum(seq.chunk for seq in step.chunks)
        return Executed(seconds, seconds / 2)

    def close(self) -> None:
        self.closed = True


class Logged:
    """Takes what a log says, step by step."""

    def __init__(self, seconds: list[float]) -> None:
        self.seconds = seconds

    def step(self, step: Step) -> Executed:
        return Executed(self.seconds[step.number], 0.0)

    def close(self) -> None:
        pass


def burst(shared: bool) -> Trace:
    rng = np.random.default_rng(3)
    prompts, arrival = rng.integers(20, 700, 40), np.sort(rng.uniform(0, 2, 40))
    blocks = None
    if shared:
        counts = -(-prompts // 64)
        ids = np.concatenate([[j if j < 3 else 100 * (i + 1) + j for j in range(n)] for i, n in enumerate(counts)])
        blocks = Blocks(ids, np.concatenate([[0], np.cumsum(counts)]), 64)
    return Trace("burst", arrival - arrival[0], prompts, rng.integers(1, 150, 40), blocks)


def replay(trace: Trace, text: str, own: dict[str, object], executor: object = None, **others: object) -> Simulation:
    factory = None if executor is None else lambda simulation, replica: executor
    parts = (find.machine("h100"), find.model("llama-3-8b"), policy(text), serving_preset("vllm", own))
    return simulate(trace, *parts, executor=factory, **others)  # type: ignore[arg-type]


@pytest.mark.parametrize("preemption", ["recompute", "swap"])
@pytest.mark.parametrize("text", ["full", "snapkv:capacity=200", "headinfer"])
def test_an_executor_can_follow_memory(text: str, preemption: str) -> None:
    mirror = Mirror()
    run = replay(burst(text == "full"), text, TIGHT | {"preemption": preemption}, mirror, observers=(checker,))
    preempted = len(run.replicas[0].scheduler.preempted)
    assert preempted >= 3 and mirror.closed
    assert (mirror.swaps > 0) == (preemption == "swap" and text != "headinfer")
    assert mirror.swaps <= preempted
    assert (mirror.hits > 0) == (not text.startswith("snapkv"))
    assert not mirror.away and len(mirror.cached) <= 1  # the last step's batch is never told to leave


def test_a_log_of_seconds_gives_the_schedule_again() -> None:
    seconds: list[float] = []
    predicted: list[float] = []

    def record(replica: Replica, span: Span) -> None:
        assert isinstance(span, ExecutedSpan)
        seconds.append(span.executed.seconds)
        predicted.append(span.predicted_s)

    first = replay(burst(True), "full", TIGHT, Mirror(), observers=(record,))
    logged = list(seconds)
    again = replay(burst(True), "full", TIGHT, Logged(logged), observers=(record,))
    for name, value in vars(first.columns).items():
        assert value.tobytes() == vars(again.columns)[name].tobytes(), name
    assert first.replicas[0].scheduler.preempted == again.replicas[0].scheduler.preempted
    assert predicted[: len(logged)] == predicted[len(logged) :]  # the cost model sees the same batches
    assert min(predicted) > 0


def test_predicted_seconds_give_the_simulation() -> None:
    """One request at a time: a step's prediction does not depend on when it starts."""
    trace = Trace("lonely", np.array([0.0, 100.0, 200.0]), np.array([30, 3000, 500]), np.array([40, 5, 90]))
    plain = replay(trace, "full", {}, exact=True)
    predicted: list[float] = []
    replay(trace, "full", {}, Mirror(), observers=(lambda _, span: predicted.append(span.predicted_s),))  # type: ignore[attr-defined]
    again = replay(trace, "full", {}, Logged(predicted))
    np.testing.assert_allclose(plain.columns.done_s, again.columns.done_s, rtol=1e-9)


def test_without_an_executor_nothing_is_executed() -> None:
    assert outcome(replay(burst(True), "full", TIGHT)) == outcome(replay(burst(True), "full", TIGHT, exact=True))


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_seconds_that_cannot_be(seconds: float) -> None:
    with pytest.raises(RuntimeError, match="step 0 took"):
        replay(burst(False), "full", {}, Logged([seconds]))
