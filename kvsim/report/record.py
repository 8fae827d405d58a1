"""Batch, queue and memory over time, kept in a bounded number of equal time slices however long a run is.

When a run outgrows the slices, each two become one: `SLICES` of them at most, so that the cost of a run stays flat. A
long span of steps touches each of its slices once.
"""

from kvsim.engine.replica import Replica, Span

SLICES = 2048
_FIRST_S = 2.0**-6


class Track:
    """One replica's slices: sequence-seconds running and waiting, and the fullest its pools were, in bytes."""

    def __init__(self) -> None:
        self.slice_s = _FIRST_S
        self.running_s: list[float] = []
        self.waiting_s: list[float] = []
        self.hbm: list[int] = []
        self.home: list[int] = []

    def add(self, start_s: float, end_s: float, running: int, waiting: int, hbm: int, home: int) -> None:
        """`running` sequences ran and `waiting` waited from `start_s` to `end_s`."""
        while end_s >= SLICES * self.slice_s:
            self._halve()
        first, last = int(start_s / self.slice_s), int(end_s / self.slice_s)
        missing = last + 1 - len(self.hbm)
        if missing > 0:
            self.running_s += [0.0] * missing
            self.waiting_s += [0.0] * missing
            self.hbm += [0] * missing
            self.home += [0] * missing
        for at in range(first, last + 1):
            inside_s = min(end_s, (at + 1) * self.slice_s) - max(start_s, at * self.slice_s)
            self.running_s[at] += running * inside_s
            self.waiting_s[at] += waiting * inside_s
            self.hbm[at] = max(self.hbm[at], hbm)
            self.home[at] = max(self.home[at], home)

    def _halve(self) -> None:
        self.slice_s *= 2
        for sums in (self.running_s, self.waiting_s):
            sums[:] = [sum(sums[i : i + 2]) for i in range(0, len(sums), 2)]
        for peaks in (self.hbm, self.home):
            peaks[:] = [max(peaks[i : i + 2]) for i in range(0, len(peaks), 2)]


class Record:
    """An observer of a run: a Track for each replica."""

    def __init__(self) -> None:
        self.tracks: dict[int, Track] = {}

    def __call__(self, replica: Replica, span: Span) -> None:
        """Add a span that was run."""
        track = self.tracks.setdefault(replica.number, Track())
        scheduler = replica.scheduler
        hbm, home = scheduler.memory.used()
        running = span.plan.decodes + len(span.plan.chunks)
        track.add(span.start_s, float(span.ends[span.steps - 1]), running, len(scheduler.waiting), hbm, home)
