"""Rows that name their session, gathered and linked: each turn waits for the one before it."""

from array import array
from collections.abc import Hashable, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from kvsim.traces.source import Source
from kvsim.traces.trace import Chunk, Floats, Ints

NAN = float("nan")


class Turns:
    """Rows of a trace, one by one, and at the end a chunk of them all. Rows without tokens are dropped and counted."""

    def __init__(self, source: Source, units_per_s: int = 1) -> None:
        self._source, self._units_per_s = source, units_per_s
        self._session: array[int] = array("q")
        self._names: dict[Hashable, int] = {}
        self._whole = {name: array("q") for name in ("line", "prompt", "output")}
        self._real = {name: array("d") for name in ("gap_s", "ttft_s", "e2e_s")}
        self._arrival: list[int | float] = []
        self._ids: list[Sequence[int] | Ints] = []

    def __len__(self) -> int:
        return len(self._arrival)

    def add(
        self,
        line: int,
        session: Hashable | None,
        arrival: int | float,
        prompt: int,
        output: int,
        *,
        ids: Sequence[int] | Ints = (),
        gap_s: float = NAN,
        ttft_s: float = NAN,
        e2e_s: float = NAN,
    ) -> None:
        """The next row; `session` None for a request of its own. Figures as in `sessions.Call`."""
        if not (prompt and output):
            empty = [name for name, tokens in (("prompt", prompt), ("output", output)) if not tokens]
            self._source.dropped[f"0 {' and 0 '.join(empty)} tokens"] += 1
            return
        name: Hashable = ("row", line) if session is None else ("session", session)
        self._session.append(self._names.setdefault(name, len(self._names)))
        for key, whole in (("line", line), ("prompt", prompt), ("output", output)):
            self._whole[key].append(whole)
        for key, real in (("gap_s", gap_s), ("ttft_s", ttft_s), ("e2e_s", e2e_s)):
            self._real[key].append(real)
        self._arrival.append(arrival)
        self._ids.append(ids)

    def chunk(self, *, measured: bool = False) -> Chunk:
        """All rows. A turn's gap is what was given, or its stamp less the end (by its `e2e_s`) of the turn before.

        Where none tells either, no gap of the trace is known.
        """
        whole = {name: np.array(column, np.int64) for name, column in self._whole.items()}
        real = {name: np.array(column, np.float64) for name, column in self._real.items()}
        arrival = self._stamps()
        session = np.array(self._session, np.int64)
        parent = _before(session, arrival)
        waits = parent >= 0
        gap_s = self._gaps(real, arrival, parent)
        with_ids = self._source.block_tokens > 0
        return Chunk(
            whole["line"],
            arrival,
            whole["prompt"],
            whole["output"],
            self._units_per_s,
            block_ids=np.fromiter(chain.from_iterable(self._ids), np.int64) if with_ids else None,
            block_count=np.fromiter(map(len, self._ids), np.int64) if with_ids else None,
            session=session if waits.any() else None,
            parents=parent[waits],
            parent_count=waits.astype(np.int64),
            gap_s=gap_s,
            ttft_s=real["ttft_s"] if measured else None,
            e2e_s=real["e2e_s"] if measured else None,
        )

    def _stamps(self) -> Floats | Ints:
        whole = all(isinstance(value, int) for value in self._arrival)
        return np.array(self._arrival, np.int64) if whole else np.array(self._arrival, np.float64)

    def _gaps(self, real: dict[str, Floats], arrival: Floats | Ints, parent: Ints) -> Floats | None:
        waits = parent >= 0
        gap_s = real["gap_s"].copy()
        derived = waits & np.isnan(gap_s)
        before = parent[derived]
        took_s = real["e2e_s"][before]
        untold = np.isnan(took_s)
        if untold.any() and not untold.all():
            line = f"{int(untold.sum()):,} turns follow an answer that took nobody knows how long: counted as no time"
            self._source.notes.append(line)
            took_s = np.where(untold, 0.0, took_s)
        since_s = (arrival[derived] - arrival[before]) / self._units_per_s - took_s
        early = int(np.count_nonzero(since_s < 0))
        if early:
            self._source.notes.append(
                f"{early:,} turns came before the answer to the turn before: sent at once after it"
            )
        gap_s[derived] = np.maximum(since_s, 0.0)
        gap_s[~waits] = 0.0
        return None if np.isnan(gap_s).any() else gap_s


def _before(session: Ints, arrival: Floats | Ints) -> Ints:
    """Per row: the row of its session that arrives last before it, -1 for the first; ties by position."""
    order = np.lexsort((np.arange(len(session)), arrival, session))
    parent = np.full(len(session), -1, np.int64)
    follows: NDArray[np.bool_] = session[order][1:] == session[order][:-1]
    parent[order[1:][follows]] = order[:-1][follows]
    return parent
