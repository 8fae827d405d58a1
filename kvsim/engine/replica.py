"""One replica, the main loop: plan a span, price it, wait for its end or an arrival that cuts it, commit."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kvsim.cost.executed.batch import Batch, PowerBudget
from kvsim.cost.executed.whole import step_s
from kvsim.cost.op import Num
from kvsim.cost.pricer import Pricer
from kvsim.engine.clock import STEP, Call, Clock
from kvsim.engine.ledger import Ledger
from kvsim.engine.results import Columns, Counters
from kvsim.engine.scheduler import Plan, Scheduler
from kvsim.engine.sequence import Sequence

if TYPE_CHECKING:
    from kvsim.engine.streaming import Streaming

Floats = NDArray[np.float64]


@dataclass(slots=True)
class Span:
    """A plan under way: when its steps end, and how long each keeps the GPU.

    `rows` and `chunk` are what it was priced by; `steps` will be run, fewer than planned when an arrival cuts it.
    """

    plan: Plan
    start_s: float
    ends: Floats | list[float]
    gpu_s: Num
    steps: int
    rows: Any
    chunk: list[Num] | None


class Replica:
    """Drives a scheduler by a pricer's seconds, on a shared clock."""

    def __init__(
        self, clock: Clock, scheduler: Scheduler, ledger: Ledger, pricer: Pricer, columns: Columns, number: int
    ) -> None:
        self.clock, self.scheduler, self.ledger, self.pricer = clock, scheduler, ledger, pricer
        self.columns, self.number, self.counters = columns, number, Counters()
        self.observers: list[Callable[[Replica, Span], None]] = []
        self.on_end: Callable[[int], None] | None = None  # told each request that ends
        self.outstanding_tokens = 0
        self._span: Span | None = None
        self._wake: Call | None = None
        self._last_start_s = 0.0
        self._power = PowerBudget()
        self._streaming: Streaming | None = None
        serving = scheduler.serving
        self._async = serving.asynchronous
        self._cpu_step_s, self._cpu_seq_s, self._gap_s = serving.cpu_step_s, serving.cpu_seq_s, serving.gap_s
        if scheduler.tiers:
            scheduler.tiers.on_ready = self._ready

    def submit(self, seq: Sequence) -> None:
        """A request reaches the queue now (at `seq.visible_s`)."""
        self.scheduler.waiting.append(seq)
        self.outstanding_tokens += seq.prompt
        if tiers := self.scheduler.tiers:
            tiers.arrive(seq, self.scheduler.memory.runs(seq))
        self._notice(seq.visible_s)

    def _ready(self, seq: Sequence) -> None:
        """A request in the queue has now what it waited for in a lower tier."""
        self.scheduler.again(seq, self.clock.now)
        self._notice(seq.visible_s, loaded=True)

    def _notice(self, now_s: float, loaded: bool = False) -> None:
        """The queue has changed: plan at the end of the step that can see it."""
        span = self._span
        if span is None:
            if self._wake is None:  # planned once all that arrives at this very time is here
                self._wake_at(now_s)
        elif (span.plan.open or loaded) and span.steps > 1:
            step = bisect_left(span.ends, now_s) + 1 + self._async
            if step < span.steps:
                span.steps = step
                self._wake_at(float(span.ends[step - 1]))

    def share(self, streaming: "Streaming") -> None:
        """Its cache crosses links that other replicas use too."""
        self._streaming = streaming
        streaming.on_change = self._reprice

    def _reprice(self) -> None:
        """Steps that have not begun have another price."""
        span = self._span
        if span is not None and span.steps > 1:
            step = bisect_right(span.ends, self.clock.now) + 1
            if step < span.steps:
                span.steps = step
                self._wake_at(float(span.ends[step - 1]))

    # -- one span ----------------------------------------------------------------------------------------------------

    def _begin(self, now_s: float, idle: bool) -> None:
        """Plan at a step's boundary. An idle engine sees all that has arrived, a busy one what had a step earlier."""
        cutoff_s = now_s if idle or not self._async or self._span is None else self._last_start_s
        plan = self.scheduler.plan(cutoff_s)
        if plan is None:
            if self.scheduler.waiting and not idle:  # unseen so far; nothing runs, so it is planned at once
                self._begin(now_s, idle=True)
                return
            self._span = self._wake = None
            if self._streaming:
                self._streaming.end()
            return
        if self._streaming:
            self._streaming.begin()
        self._span = span = self._price(plan, now_s, idle)
        self.counters.events += 1
        if self._streaming and self._streaming.changed_s == now_s:
            span.steps = 1  # the next has another price
        self._wake_at(float(span.ends[span.steps - 1]))

    def _wake_at(self, time_s: float) -> None:
        self._wake = self.clock.at(time_s, STEP, self._commit)

    def _price(self, plan: Plan, now_s: float, idle: bool) -> Span:
        scheduler, pricer, steps, decodes, chunks = self.scheduler, self.pricer, plan.steps, plan.decodes, plan.chunks
        rows: Any = ()
        if decodes:
            single = steps == 1 and pricer.kinds == 1
            rows = scheduler.column if single else self.ledger.span(scheduler.step, steps)
        chunk: list[Num] | None = None
        end_s = 0.0
        for seq in chunks:
            past = seq.computed if steps == 1 else seq.computed + seq.chunk * np.arange(steps)
            features = pricer.chunk(seq.chunk, past)
            chunk = features if chunk is None else [a + b for a, b in zip(chunk, features, strict=True)]
            if pricer.works_at_end and seq.computed + seq.chunk >= seq.tokens:
                end_s += pricer.prompt_end(seq.tokens)
        slow = self._streaming.slow(now_s) if self._streaming else 1.0
        work_s: Num
        gpu_s: Num
        if pricer.executed:
            work_s, gpu_s = step_s(pricer, self._each(plan, now_s), rows, chunk, slow)
        else:
            work_s, gpu_s = pricer.price(decodes, rows, chunk, len(chunks), end_s, slow)
        cpu_s, gap_s = self._cpu_step_s + self._cpu_seq_s * (decodes + len(chunks)), self._gap_s
        if steps == 1:
            if isinstance(work_s, np.ndarray):  # layer kinds priced each: arrays of one step
                work_s, gpu_s = work_s.item(), np.asarray(gpu_s).item()
            work = float(work_s)
            if plan.swapped_in_bytes or plan.swapped_out_bytes:
                work += pricer.swap_s(plan.swapped_in_bytes, plan.swapped_out_bytes)
            end = now_s + ((max(work, cpu_s) if self._async and not idle else work + cpu_s) + gap_s)
            return Span(plan, now_s, [end], gpu_s, steps, rows, chunk)
        ends = np.empty(steps + 1)
        ends[0] = now_s
        ends[1:] = (np.maximum(work_s, cpu_s) if self._async else work_s + cpu_s) + gap_s
        if idle:  # the first step waits for its planning
            ends[1] = float(work_s if isinstance(work_s, float) else work_s[0]) + cpu_s + gap_s  # type: ignore[index]
        return Span(plan, now_s, np.add.accumulate(ends)[1:], gpu_s, steps, rows, chunk)

    def _each(self, plan: Plan, now_s: float) -> Batch:
        """A plan's single step, sequence by sequence."""
        scheduler, heads = self.scheduler, self.pricer.layout.geo.kv_heads
        step = scheduler.step
        read = [seq.rows[:, step - seq.start] for seq in scheduler.running.values() if seq.rows is not None]
        return Batch(
            tuple(int(rows[0]) // heads for rows in read),
            tuple((seq.chunk, seq.computed) for seq in plan.chunks),
            tuple(seq.tokens for seq in plan.chunks if seq.computed + seq.chunk >= seq.tokens),
            self._power.at(now_s),
        )

    def _commit(self, wake: Call) -> None:
        span = self._span
        if wake is not self._wake:
            return  # the span was cut, and ended before
        if span is None:
            self._begin(self.clock.now, idle=True)
            return
        now_s = float(span.ends[span.steps - 1])
        self._account(span)
        for observer in self.observers:
            observer(self, span)
        if self.pricer.executed:
            self._power.spend(span.start_s, now_s, sum(seq.chunk for seq in span.plan.chunks))
        self._last_start_s = span.start_s if span.steps == 1 else float(span.ends[span.steps - 2])
        columns = self.columns
        for seq in span.plan.chunks:
            if seq.first_plan:
                seq.first_plan = False
                columns.scheduled_s[seq.index] = span.start_s
                columns.hit_tokens[seq.index] = seq.computed
                self.counters.prompt_tokens += seq.prompt
                self.counters.hit_tokens += seq.computed
        emitted, ended = self.scheduler.commit(span.plan, span.steps)
        for seq in emitted:
            if seq.generated == 1:
                columns.first_token_s[seq.index] = now_s
        for seq in ended:
            columns.done_s[seq.index] = now_s
            self.outstanding_tokens -= seq.prompt
            if self.on_end:
                self.on_end(seq.index)
        self.counters.end_s = now_s
        self._begin(now_s, idle=False)

    def _account(self, span: Span) -> None:
        """Add a span to the counters; integers but for the GPU's seconds, which were added up step by step."""
        counters, plan, steps = self.counters, span.plan, span.steps
        sequences = tokens = plan.decodes
        for seq in plan.chunks:
            sequences += 1
            tokens += seq.chunk
        counters.steps += steps
        counters.sequences += steps * sequences
        counters.tokens += steps * tokens
        gpu_s = span.gpu_s
        if isinstance(gpu_s, np.ndarray):
            counters.gpu_steps_s += gpu_s[:steps].tolist()
        elif steps == 1:
            counters.gpu_steps_s.append(gpu_s)
        else:
            counters.gpu_steps_s += [gpu_s] * steps
        if len(counters.gpu_steps_s) > 8192:
            counters.add_up()
        if sequences > counters.max_running:
            counters.max_running = sequences
        counters.swapped_in_bytes += plan.swapped_in_bytes
        counters.swapped_out_bytes += plan.swapped_out_bytes
        if self.pricer.units:
            fetched, returned = self.pricer.link_bytes(plan.decodes, span.rows, span.chunk, steps)
            counters.fetched_bytes += fetched
            counters.returned_bytes += returned
            beside = self.pricer.beside
            if plan.decodes and beside:
                sums = beside.sums(plan.decodes, span.rows, steps)
                counters.beside = [a + b for a, b in zip(counters.beside or [0] * len(sums), sums, strict=True)]
