"""Requests on their way to the replicas: at their stamps (open loop), or when what they wait for has ended (closed)."""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

import numpy as np

from kvsim.engine.clock import ARRIVAL, Call, Clock
from kvsim.engine.results import Columns
from kvsim.engine.router import Router
from kvsim.engine.sequence import Sequence
from kvsim.traces.trace import Sessions, starts

Progress = Callable[[int], None] | None


class Feed(Protocol):
    """What brings requests to the router."""

    def begin(self) -> None:
        """Schedule the first arrivals; the others follow by themselves."""

    def ended(self, index: int) -> None:
        """Request `index` has its last token, now."""


class OpenLoop:
    """Feeds requests at their stamps, one event each, none of them before its turn."""

    def __init__(self, clock: Clock, router: Router, columns: Columns, api_s: float, progress: Progress) -> None:
        self._clock, self._router, self._columns, self._progress = clock, router, columns, progress
        kept = np.flatnonzero(~columns.rejected)
        self._kept, self._at = kept, 0
        self._visible_s = columns.arrival_s + api_s
        self._batch: list[tuple[int, float, int, int]] = []

    def begin(self) -> None:
        """Schedule the next arrival."""
        if not self._batch:
            some = self._kept[self._at : self._at + 4096]
            self._at += len(some)
            if self._progress:
                self._progress(self._at)
            figures = (self._visible_s, self._columns.prompt_tokens, self._columns.output_tokens)
            self._batch = list(zip(some.tolist(), *(figure[some].tolist() for figure in figures), strict=True))[::-1]
        if self._batch:
            self._clock.at(self._batch[-1][1], ARRIVAL, self._arrive)

    def _arrive(self, call: Call) -> None:
        index, visible_s, prompt, output = self._batch.pop()
        replica = self._router.choose(index)
        self._columns.replica[index] = replica.number
        replica.submit(Sequence(index, prompt, output, visible_s))
        self.begin()

    def ended(self, index: int) -> None:
        """Nobody waits for a request's end."""


class ClosedLoop:
    """Sends each request of a session once those that it waits for have ended, after its gap.

    A rejected request ends when it arrives: its session goes on. With `concurrency` that many sessions are under way
    at any time, taken in order of arrival, and their stamps count from the session's begin.
    """

    def __init__(
        self,
        clock: Clock,
        router: Router,
        columns: Columns,
        api_s: float,
        progress: Progress,
        sessions: Sessions,
        concurrency: int | None = None,
    ) -> None:
        self._clock, self._router, self._columns, self._progress = clock, router, columns, progress
        self._api_s = api_s
        waits = np.diff(sessions.start)
        self._left: list[int] = waits.tolist()  # parents of each request that have not ended
        child = np.repeat(np.arange(len(waits)), waits)
        self._children = child[np.argsort(sessions.parents, kind="stable")].tolist()
        self._child_start = starts(np.bincount(sessions.parents, minlength=len(waits))).tolist()
        self._gap_s: list[float] = (np.zeros(len(waits)) if sessions.gap_s is None else sessions.gap_s).tolist()
        columns.arrival_s[waits > 0] = np.nan
        self._arrived = 0
        self._session = np.unique(sessions.id, return_inverse=True)[1].tolist()
        self._session_left = np.bincount(self._session).tolist()  # requests of each session that have not ended
        by_session: dict[int, list[int]] = {}
        for index in np.flatnonzero(waits == 0).tolist():
            by_session.setdefault(self._session[index], []).append(index)
        groups = list(by_session.values())
        if concurrency:
            for group in groups:
                columns.arrival_s[group] -= columns.arrival_s[group[0]]
        self._first = groups[:concurrency]
        self._held = deque(groups[concurrency:] if concurrency else [])

    def begin(self) -> None:
        """Schedule the requests that wait for nobody."""
        for roots in self._first:
            self._send(roots, 0.0)

    def _send(self, roots: list[int], now_s: float) -> None:
        for index in roots:
            self._columns.arrival_s[index] += now_s
            self._at(index)

    def _at(self, index: int) -> None:
        visible_s = float(self._columns.arrival_s[index]) + self._api_s
        self._clock.at(visible_s, ARRIVAL, partial(self._arrive, index, visible_s))

    def _arrive(self, index: int, visible_s: float, call: Call) -> None:
        columns = self._columns
        self._arrived += 1
        if self._progress and not self._arrived % 256:
            self._progress(self._arrived)
        if columns.rejected[index]:
            self.ended(index)
            return
        replica = self._router.choose(index)
        columns.replica[index] = replica.number
        prompt, output = int(columns.prompt_tokens[index]), int(columns.output_tokens[index])
        replica.submit(Sequence(index, prompt, output, visible_s))

    def ended(self, index: int) -> None:
        """Release what waited for request `index` alone, and the next session if this was its session's last."""
        now_s = self._clock.now
        for child in self._children[self._child_start[index] : self._child_start[index + 1]]:
            self._left[child] -= 1
            if not self._left[child]:
                self._columns.arrival_s[child] = now_s + self._gap_s[child]
                self._at(child)
        session = self._session[index]
        self._session_left[session] -= 1
        if self._held and not self._session_left[session]:
            self._send(self._held.popleft(), now_s)
