"""Batch, queue, memory and lanes over time, kept in a bounded number of equal time slices however long a run is.

When a run outgrows the slices, each two become one: `SLICES` of them at most, so that the cost of a run stays flat. A
long span of steps touches each of its slices once.
"""

from kvsim.engine.replica import Replica, Span
from kvsim.report.away import Away
from kvsim.report.lanes import LANES, lane_seconds

SLICES = 2048
_FIRST_S = 2.0**-6
SUMS = ("running_s", "reading_s", "waiting_s", *(f"{lane}_s" for lane in LANES))
PEAKS = ("hbm", "home")


class Track:
    """One replica's slices.

    Attributes:
        running_s, reading_s, waiting_s: sequence-seconds in the batch, those of them whose prompt is being read, and in
            the queue. gpu_s, h2d_s, d2h_s, cpu_s: busy seconds of lanes. hbm, home: the fullest its pools were, bytes.
    """

    def __init__(self) -> None:
        self.slice_s = _FIRST_S
        self.running_s: list[float] = []
        self.reading_s: list[float] = []
        self.waiting_s: list[float] = []
        self.gpu_s: list[float] = []
        self.h2d_s: list[float] = []
        self.d2h_s: list[float] = []
        self.cpu_s: list[float] = []
        self.hbm: list[int] = []
        self.home: list[int] = []
        self._sums: list[list[float]] = [getattr(self, name) for name in SUMS]

    def add(self, start_s: float, end_s: float, rates: tuple[float, ...], hbm: int, home: int) -> None:
        """From `start_s` to `end_s` each of SUMS grew by its rate a second."""
        while end_s >= SLICES * self.slice_s:
            self._halve()
        first, last = int(start_s / self.slice_s), int(end_s / self.slice_s)
        missing = last + 1 - len(self.hbm)
        if missing > 0:
            for sums in self._sums:
                sums += [0.0] * missing
            self.hbm += [0] * missing
            self.home += [0] * missing
        for at in range(first, last + 1):
            inside_s = min(end_s, (at + 1) * self.slice_s) - max(start_s, at * self.slice_s)
            for sums, rate in zip(self._sums, rates, strict=True):
                sums[at] += rate * inside_s
            self.hbm[at] = max(self.hbm[at], hbm)
            self.home[at] = max(self.home[at], home)

    def _halve(self) -> None:
        self.slice_s *= 2
        for sums in self._sums:
            sums[:] = [sum(sums[i : i + 2]) for i in range(0, len(sums), 2)]
        for peaks in (self.hbm, self.home):
            peaks[:] = [max(peaks[i : i + 2]) for i in range(0, len(peaks), 2)]


class Record:
    """An observer of a run: a Track for each replica, and how long preempted requests were away."""

    def __init__(self) -> None:
        self.tracks: dict[int, Track] = {}
        self.away = Away()

    def __call__(self, replica: Replica, span: Span) -> None:
        """Add a span that was run."""
        self.away(replica, span)
        track = self.tracks.setdefault(replica.number, Track())
        scheduler, reading, end_s = replica.scheduler, len(span.plan.chunks), float(span.ends[span.steps - 1])
        length_s = end_s - span.start_s
        busy = [lane_s / length_s if length_s else 0.0 for lane_s in lane_seconds(replica, span)]
        rates = (span.plan.decodes + reading, reading, len(scheduler.waiting), *busy)
        track.add(span.start_s, end_s, rates, *scheduler.memory.used())
