"""Which sequences the next step runs: pure logic without a clock, the same for a simulated and a real executor.

It never looks at a request's output length; only `commit`, which plays the model, knows when a sequence ends. One plan
may stand for many equal steps (a span): as many as nothing that the scheduler looks at can change in.
"""

from collections import deque
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Protocol

from kvsim.engine.ledger import Ints, Ledger
from kvsim.engine.memory import Memory
from kvsim.engine.sequence import Sequence
from kvsim.engine.serving import Serving

LONGEST_SPAN = 1024


class Demand(Protocol):
    """Ledger rows [rows, steps] of a sequence's decode steps after a prompt."""

    def __call__(self, prompt: int, steps: int, /) -> Ints: ...


@dataclass(slots=True)
class Plan:
    """A step, or up to `steps` equal ones: `decodes` running sequences, and a chunk of each of `chunks`.

    `open`: a new arrival could enter the next step, and so ends the span.
    """

    decodes: int
    chunks: list[Sequence]
    steps: int
    open: bool
    swapped_in_bytes: int = 0
    swapped_out_bytes: int = 0


class Scheduler:
    """Queue and batch of one replica."""

    def __init__(self, serving: Serving, memory: Memory, ledger: Ledger, demand: Demand, exact: bool) -> None:
        self.serving, self.memory, self.ledger = serving, memory, ledger
        self._demand, self._longest = demand, 1 if exact else LONGEST_SPAN
        self.waiting: deque[Sequence] = deque()
        self.running: dict[int, Sequence] = {}  # decoding, by order of admission
        self.prefilling: list[Sequence] = []
        self.step = 0  # decode steps done
        self.column: list[int] = []  # the ledger's rows at `step`, as the last plan saw them
        self._ends: list[tuple[int, int, Sequence]] = []  # (decode step, order, sequence)
        self._orders = self._batch_end = 0
        self._late = 0  # sequences that the last step ended; an asynchronous plan still counts them
        self.tiers = memory.tiers
        self.fetching: dict[int, Sequence] = {}  # out of the queue until a lower tier has brought what they wait for
        self.preempted: list[int] = []
        self._swapped_bytes = self.peak_swapped_bytes = 0

    # -- plan --------------------------------------------------------------------------------------------------------

    def plan(self, cutoff_s: float) -> Plan | None:
        """The next step, admitting what was in the queue at `cutoff_s`; None when nothing can run."""
        serving = self.serving
        self.column = self.memory.look(self.step)
        swapped_out, preempted = (0, False) if self.memory.fits() else self._make_room()
        decodes = len(self.running)
        budget = serving.max_num_batched_tokens - decodes
        chunks: list[Sequence] = []
        for seq in tuple(self.prefilling) if self.prefilling else ():  # one at most when prompts are chunked
            seq.chunk = min(seq.tokens - seq.computed, budget)
            if self.memory.grow(seq, seq.computed + seq.chunk):
                budget -= seq.chunk
                chunks.append(seq)
            else:
                self._preempt(seq)
                preempted = True
        swapped_in, blocked, unseen, under_way = 0, preempted, False, len(chunks)
        while self.waiting and not blocked and not unseen:
            seq = self.waiting[0]
            if seq.visible_s > cutoff_s:
                unseen = True
            elif self._full(decodes):
                blocked = True
            elif self.tiers and self._fetch(seq):
                continue
            elif budget <= 0:
                blocked = True
            elif seq.swapped:
                if self._swap_in(seq):
                    swapped_in, seq.swapped = swapped_in + seq.swapped, 0
                    decodes, budget = decodes + 1, budget - 1
                else:
                    blocked = True
            elif self._admit(seq, budget, bool(decodes or chunks)):
                budget -= seq.chunk
                chunks.append(seq)
            else:
                blocked = True
        if self.tiers and (preempted or swapped_in or len(chunks) > under_way):
            self.tiers.writes.flush()
        if not (decodes or chunks or swapped_in or swapped_out):
            return self._idle(blocked, cutoff_s)
        settled = not (preempted or unseen or swapped_in or (blocked and self._late))
        if self.tiers and self.waiting and budget <= 0:
            settled = False  # what HBM gives up meanwhile may make the head of the queue leave it
        self._forget_late()
        is_open = not (blocked or (budget <= 0 and not self.tiers) or self._full(decodes) or serving.static_batches)
        return Plan(decodes, chunks, self._span(decodes, chunks) if settled else 1, is_open, swapped_in, swapped_out)

    def _idle(self, blocked: bool, cutoff_s: float) -> Plan | None:
        """Nothing runs: try again with what the last step freed, or wait for an arrival."""
        if blocked and self._late:
            self._forget_late()
            return self.plan(cutoff_s)
        if blocked and not self.fetching and not self.waiting[0].loaded:  # else its room is what others wait for
            raise RuntimeError(f"request {self.waiting[0].index + 1} fits never: it should have been rejected")
        self._forget_late()
        return None

    def _forget_late(self) -> None:
        self._late = self.memory.late_hbm = self.memory.late_home = 0

    def _full(self, decodes: int) -> bool:
        if self.serving.static_batches and decodes:
            return True
        return len(self.running) + len(self.prefilling) + self._late >= self.serving.max_num_seqs

    def _span(self, decodes: int, chunks: list[Sequence]) -> int:
        """Steps in which nothing changes but that each sequence grows by a token, or a chunk."""
        steps, chunked = self._longest, None
        if chunks:
            chunked = chunks[0]
            if len(chunks) > 1:
                return 1
            steps = min(steps, (chunked.tokens - chunked.computed - 1) // chunked.chunk)
        if decodes:
            steps = min(steps, self._ends[0][0] - self.step)
        if steps <= 1:
            return 1
        return self.memory.steps_that_fit(self.step, steps, decodes, chunked)

    # -- admission and preemption ------------------------------------------------------------------------------------

    def _admit(self, seq: Sequence, budget: int, beside: bool) -> bool:
        """Give the head of the queue its first chunk, if it fits. A whole prompt above the budget runs alone."""
        serving, hits = self.serving, [] if seq.loaded else self.memory.hits(seq)
        computed = seq.computed if seq.loaded else sum(blocks for _, blocks in hits) * serving.block_tokens
        chunk = seq.tokens - computed
        if chunk > budget and serving.chunked_prefill:
            chunk = budget
        elif chunk > budget and beside:
            return False
        memory, whole = self.memory, self._whole(seq)
        now = memory.prefilled(computed + chunk) if serving.admission == "prompt_fits" else whole
        if not seq.loaded and not memory.admit(seq, hits, now, whole, serving.watermark):
            return False
        self._enter(seq)
        seq.loaded = False
        seq.computed, seq.chunk = computed, chunk
        self.prefilling.append(seq)
        return True

    def _whole(self, seq: Sequence) -> tuple[int, int]:
        """(HBM, home) bytes that must fit for a sequence to be admitted."""
        if self.serving.admission == "reserve_output":
            return self.memory.largest(seq.tokens, seq.prompt + seq.target)
        return self.memory.prefilled(seq.tokens)

    def _fetch(self, seq: Sequence) -> bool:
        """Whether the head of the queue has left it, to wait for what lower tiers have; then its room is allocated."""
        tiers, memory, spare = self.tiers, self.memory, self.serving.watermark
        if seq.loaded or seq.swapped or not tiers:
            return False
        hits, whole = memory.hits(seq), self._whole(seq)
        if not memory.has_room(hits, whole, spare):
            return False
        pieces = tiers.fetch(seq, memory.runs(seq), hits)
        if pieces:
            past = sum(blocks for _, blocks in hits)
            memory.admit(seq, hits, whole, whole, spare)
            seq.computed = (past + sum(want - have for _, have, want in pieces)) * self.serving.block_tokens
            if tiers.load(seq, pieces, past):
                self._loaded(seq)
        if seq.loaded or pieces == []:
            return False
        self.fetching[seq.index] = self.waiting.popleft()
        return True

    def again(self, seq: Sequence, now_s: float) -> None:
        """What a sequence left the queue for is here: it is at the head once more."""
        del self.fetching[seq.index]
        if seq.home:  # allocated for what came
            self._loaded(seq)
        seq.visible_s = now_s
        self._requeue(seq)

    def _requeue(self, seq: Sequence) -> None:
        """Back to the head of the queue, but behind those whose room in HBM is allocated."""
        ahead = 0
        while ahead < len(self.waiting) and self.waiting[ahead].loaded:
            ahead += 1
        self.waiting.insert(ahead, seq)

    def _loaded(self, seq: Sequence) -> None:
        seq.loaded = True
        self.memory.promoted(seq)

    def _enter(self, seq: Sequence) -> None:
        self.waiting.popleft()
        seq.order = self._orders
        self._orders += 1

    def _swap_in(self, seq: Sequence) -> bool:
        """Bring a swapped sequence back, if it fits; it decodes from this step on."""
        assert seq.rows is not None
        hbm, home = int(seq.rows[self.memory.hbm_row, 0]), int(seq.rows[self.memory.home_row, 0])
        if not self.memory.fits(hbm, home):
            return False
        self._enter(seq)
        self.memory.swap_room += seq.swapped
        self._swapped_bytes -= seq.swapped
        self._decode_from(seq, self.step, seq.rows)
        self.column = self.memory.look(self.step)
        return True

    def _make_room(self) -> tuple[int, bool]:
        """Preempt from the tail until all others' next token fits: (bytes swapped out, whether any was preempted)."""
        swapped, any_preempted = 0, False
        while (self.running or self.prefilling) and not self.memory.fits():
            last = self.prefilling[-1] if self.prefilling else self.running[next(reversed(self.running))]
            swapped += self._preempt(last)
            any_preempted = True
        return swapped, any_preempted

    def _preempt(self, seq: Sequence) -> int:
        """Send a sequence back to the head of the queue; bytes swapped out, 0 when it will be recomputed."""
        memory, swapped = self.memory, 0
        self.preempted.append(seq.index)
        if seq.rows is None:
            self.prefilling.remove(seq)
            memory.release(seq, seq.computed, seq.home)
        else:
            done = self.step - seq.start
            self.ledger.subtract(seq.rows[:, done:], self.step)
            self.column = memory.look(self.step)
            del self.running[seq.order]
            cached = seq.tokens + done
            home = self._home_bytes(seq, done)
            seq.generated += done
            if self.serving.preemption == "swap" and home <= memory.swap_room:
                seq.swapped = swapped = home
                memory.swap_room -= home
                self._swapped_bytes += home
                self.peak_swapped_bytes = max(self.peak_swapped_bytes, self._swapped_bytes)
                seq.rows, seq.tokens = seq.rows[:, done:], cached
            else:
                seq.rows, seq.tokens = None, cached + 1  # its last token was never read
            memory.release(seq, cached, home)
        seq.order, seq.computed = -1, 0
        self._requeue(seq)
        return swapped

    def _home_bytes(self, seq: Sequence, done: int) -> int:
        """Bytes that a decoding sequence holds at home after `done` of its steps."""
        assert seq.rows is not None
        if done:
            return int(seq.rows[self.memory.home_row, done - 1])
        next_token = int(self._demand(seq.tokens, 1)[self.memory.home_row, 0])
        return min(next_token, self.memory.prefilled(seq.tokens)[1])

    # -- commit ------------------------------------------------------------------------------------------------------

    def commit(self, plan: Plan, steps: int) -> tuple[list[Sequence], list[Sequence]]:
        """`steps` steps of a plan were run: the sequences that emitted their first token since admission, and ended."""
        memory = self.memory
        for seq in plan.chunks:
            seq.computed += seq.chunk * steps
            if steps > 1:
                memory.hold_through(seq)
        if plan.decodes:
            if steps > 1:
                memory.look(self.step + steps - 1)
            self.step += steps
        memory.close()
        ended = self._end_decodes()
        emitted = [seq for seq in plan.chunks if seq.computed >= seq.tokens] if plan.chunks else []
        for seq in emitted:
            self.prefilling.remove(seq)
            seq.generated += 1
        if self.serving.static_batches and emitted:
            self._batch_end = self.step + max(seq.target - seq.generated for seq in emitted)
        for seq in emitted:
            if seq.generated < seq.target or self.step < self._batch_end:
                steps_left = max(seq.target - seq.generated, self._batch_end - self.step)
                rows = self._rows(seq, steps_left)
                memory.end_prefill(seq)
                self._decode_from(seq, self.step, rows)
            else:
                self._leave(seq, seq.tokens, seq.hbm, seq.home)
            if seq.generated >= seq.target:
                ended.append(seq)
        if self.tiers and (emitted or ended):
            self.tiers.writes.flush()
        return emitted, ended

    def _rows(self, seq: Sequence, steps: int) -> Ints:
        rows = self._demand(seq.tokens, steps)
        if self.serving.admission == "reserve_output":  # allocated once, at its largest
            rows = rows.copy()
            rows[self.memory.hbm_row], rows[self.memory.home_row] = seq.hbm, seq.home
        return rows

    def _decode_from(self, seq: Sequence, step: int, rows: Ints) -> None:
        seq.rows, seq.start, seq.end = rows, step, step + seq.target - seq.generated
        self.ledger.add(rows, step)
        self.running[seq.order] = seq
        if seq.end > step:
            heappush(self._ends, (seq.end, seq.order, seq))

    def _end_decodes(self) -> list[Sequence]:
        """Sequences whose last token is out. A static batch is freed when its longest member's is."""
        ended = []
        while self._ends and self._ends[0][0] <= self.step:
            end, order, seq = heappop(self._ends)
            if seq.order != order or seq.end != end:
                continue  # preempted since
            seq.generated = seq.target
            ended.append(seq)
            if not self.serving.static_batches:
                del self.running[order]
                self._free(seq)
        if self.serving.static_batches and self.running and self.step >= self._batch_end:
            for seq in self.running.values():
                self._free(seq)
            self.running.clear()
        return ended

    def _free(self, seq: Sequence) -> None:
        rows, memory = seq.rows, self.memory
        assert rows is not None
        last = (int(rows[memory.hbm_row, -1]), int(rows[memory.home_row, -1]))
        self._leave(seq, seq.tokens + rows.shape[1], *last)

    def _leave(self, seq: Sequence, tokens: int, hbm: int, home: int) -> None:
        if self.serving.asynchronous:
            self._late += 1
            self.memory.delay(seq, hbm, home)
        self.memory.release(seq, tokens, home, ended=True)
        seq.rows = None
