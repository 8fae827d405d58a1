"""How long preempted requests were away, watched from outside: the engine's columns hold how often, not how long."""

from kvsim.engine.replica import Replica, Span

Interval = tuple[float, float]


class Away:
    """Times by request: from each preemption until it runs again, and from there until it generates again.

    The second is of requests that had generated some tokens; a prompt preempted before its first token is read anew as
    part of its prefill. A cache that was swapped comes back whole, with nothing to read.
    """

    def __init__(self) -> None:
        self._waited: dict[int, list[Interval]] = {}
        self._reread: dict[int, list[Interval]] = {}
        self._looked_at: dict[int, int] = {}  # preemptions of each replica
        self._left_s: dict[int, float] = {}
        self._back_s: dict[int, float] = {}

    def __call__(self, replica: Replica, span: Span) -> None:
        """Take a span that was run; its plan preempted and readmitted at its start."""
        scheduler, plan = replica.scheduler, span.plan
        for index in scheduler.preempted[self._looked_at.get(replica.number, 0) :]:
            _end(self._back_s, self._reread, index, span.start_s)
            self._left_s[index] = span.start_s
        self._looked_at[replica.number] = len(scheduler.preempted)
        if not self._left_s and not self._back_s:
            return
        if plan.swapped_in_bytes:
            for seq in scheduler.running.values():
                _end(self._left_s, self._waited, seq.index, span.start_s)
        for seq in plan.chunks:
            if _end(self._left_s, self._waited, seq.index, span.start_s) and seq.generated:
                self._back_s[seq.index] = span.start_s
            if seq.computed + seq.chunk * span.steps >= seq.tokens:
                _end(self._back_s, self._reread, seq.index, float(span.ends[span.steps - 1]))

    def waited(self, index: int, before_s: float = float("inf")) -> float:
        """Seconds that request `index` waited after preemptions that happened before `before_s`."""
        return sum(end_s - start_s for start_s, end_s in self._waited.get(index, ()) if start_s < before_s)

    def reread(self, index: int) -> float:
        """Seconds from running again to the next token, of request `index`."""
        return sum(end_s - start_s for start_s, end_s in self._reread.get(index, ()))


def _end(begun_s: dict[int, float], intervals: dict[int, list[Interval]], index: int, now_s: float) -> bool:
    """Close the interval that request `index` is in, if it is in one."""
    start_s = begun_s.pop(index, None)
    if start_s is None:
        return False
    intervals.setdefault(index, []).append((start_s, now_s))
    return True
