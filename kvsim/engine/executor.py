"""The seam of an executor: what runs, or has run, a step for real.

Its seconds drive the clock, and the cost model's are kept beside them. Without an executor nothing of this is used.
With one, every step is planned on its own (as `--exact` does), priced as always, and then handed over. The scheduler
knows nothing of it: what entered and left the batch since the last step is read off its running sequences.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Protocol

from kvsim.engine.replica import Replica, Span
from kvsim.engine.scheduler import Plan
from kvsim.engine.sequence import Sequence

if TYPE_CHECKING:
    from kvsim.engine.simulate import Simulation


@dataclass(frozen=True, slots=True)
class Step:
    """One step of one replica, about to run.

    Attributes:
        number: of the replica's steps, from 0. start_s: when it starts.
        idle: nothing ran before it, so it waits for its own planning.
        decoding: sequences that decode one token, in order of admission. chunks: sequences that read
            `seq.chunk` tokens of their prompt on top of `seq.computed`; with the last of `seq.tokens` each emits one.
        decode_step: the scheduler's count of decode steps, which `context` goes by.
        left: sequences that were in the last step's batch, and ended, or were preempted: their cache is then in host
            memory (`seq.swapped` bytes), or forgotten but for what the prefix cache keeps.
        entered: sequences new to the batch: swapped in when they are in `decoding`, else admitted, with
            `seq.computed` tokens found in the prefix cache (runs of blocks by id: `seq.held`). One that was preempted
            and admitted at once is in both.
    """

    number: int
    start_s: float
    idle: bool
    plan: Plan
    decoding: tuple[Sequence, ...]
    chunks: tuple[Sequence, ...]
    decode_step: int
    left: tuple[Sequence, ...]
    entered: tuple[Sequence, ...]

    def context(self, seq: Sequence) -> int:
        """Tokens that a decoding sequence has in its cache after this step."""
        return seq.tokens + self.decode_step - seq.start + 1


@dataclass(frozen=True, slots=True)
class Executed:
    """What a step took: `seconds` until the next may start, of which the GPU worked `gpu_s` and the host `host_s`."""

    seconds: float
    gpu_s: float
    host_s: float = 0.0


class Executor(Protocol):
    """Runs the steps of one replica, in order."""

    def step(self, step: Step, /) -> Executed:
        """Run one step to its end; memory follows `left` and `entered` first."""

    def close(self) -> None:
        """The replay is over, or failed: let go of what it holds."""


ExecutorFactory = Callable[["Simulation", Replica], Executor]


@dataclass(slots=True)
class ExecutedSpan(Span):
    """A span of one step that was run: `ends` and `gpu_s` are the executor's, `predicted_*` the cost model's."""

    executed: Executed
    step: Step
    predicted_s: float
    predicted_gpu_s: float


class ExecutingReplica(Replica):
    """A replica whose steps take what its executor says."""

    def attach(self, executor: Executor) -> None:
        """Let `executor` run the steps from now on."""
        self.executor, self._steps = executor, 0
        self._batch: dict[int, Sequence] = {}  # of the last step, by order of admission

    def _price(self, plan: Plan, now_s: float, idle: bool) -> Span:
        predicted = super()._price(plan, now_s, idle)
        step = self._step(plan, now_s, idle)
        executed = self.executor.step(step)
        if not 0 <= executed.seconds < inf:
            raise RuntimeError(f"the executor says that step {step.number} took {executed.seconds} s")
        return ExecutedSpan(
            plan,
            now_s,
            [now_s + executed.seconds],
            executed.gpu_s,
            1,
            predicted.rows,
            predicted.chunk,
            executed,
            step,
            float(predicted.ends[0]) - now_s,
            float(predicted.gpu_s),
        )

    def _step(self, plan: Plan, now_s: float, idle: bool) -> Step:
        scheduler, before = self.scheduler, self._batch
        decoding = tuple(scheduler.running.values())
        self._batch = {seq.order: seq for seq in (*decoding, *scheduler.prefilling)}
        left = tuple(seq for order, seq in before.items() if order not in self._batch)
        entered = tuple(seq for order, seq in self._batch.items() if order not in before)
        number = self._steps
        self._steps += 1
        return Step(number, now_s, idle, plan, decoding, tuple(plan.chunks), scheduler.step, left, entered)


@contextmanager
def executing(factory: ExecutorFactory, simulation: "Simulation") -> Iterator[None]:
    """Give each replica its executor, and close them all at the end."""
    with ExitStack() as stack:
        for replica in simulation.replicas:
            if isinstance(replica, ExecutingReplica):
                replica.attach(factory(simulation, replica))
                stack.callback(replica.executor.close)
        yield
