"""Calls of sessions to chunks: what readers of conversations and agent runs build on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from kvsim.traces.source import Source
from kvsim.traces.trace import Chunk, Floats, Ints

_NONE = np.empty(0, np.int64)


@dataclass(frozen=True)
class Call:
    """A request of a session, with figures that a reader has checked; it may have no tokens.

    Attributes:
        arrival: in the reader's units; made up (not before any parent's) where the source has none.
        parents: positions, in the session's list, of the calls that must have ended before; all of them earlier.
        gap_s: from the end of the last of them to this call; None where the source does not tell it.
        ids, counts: block ids (any integers that are equal where prefixes are, over the whole trace) and the blocks of
            each; counts None: one each.
        ttft_s, e2e_s: as measured; NaN where unknown.
    """

    line: int
    arrival: int | float
    prompt_tokens: int
    output_tokens: int
    parents: tuple[int, ...] = ()
    gap_s: float | None = None
    ids: Sequence[int] | Ints = ()
    counts: Sequence[int] | Ints | None = None
    ttft_s: float = float("nan")
    e2e_s: float = float("nan")


class SessionChunks:
    """Makes a chunk of each session, in the order in which they come."""

    def __init__(self, source: Source, units_per_s: int = 1, *, measured: bool = False) -> None:
        self._source, self._units_per_s, self._measured = source, units_per_s, measured
        self._sessions = self._rows = 0

    def chunk(self, calls: Sequence[Call]) -> Chunk:
        """The next session's calls that have tokens; children of one without wait for its parents instead.

        Either all calls of a trace have a gap, or none has; the first of a session counts as 0.
        """
        kept = list(_with_tokens(self._source, calls))
        gaps = [call.gap_s for call in kept if call.parents]
        lengths = None
        if kept and kept[0].counts is not None:
            lengths = _joined([call.counts for call in kept if call.counts is not None])
        chunk = Chunk(
            _ints(call.line for call in kept),
            _times([call.arrival for call in kept]),
            _ints(call.prompt_tokens for call in kept),
            _ints(call.output_tokens for call in kept),
            self._units_per_s,
            block_ids=_joined([call.ids for call in kept]) if self._source.block_tokens else None,
            block_count=_ints(len(call.ids) for call in kept) if self._source.block_tokens else None,
            block_lengths=lengths,
            session=np.full(len(kept), self._sessions, np.int64),
            parents=_ints(chain.from_iterable(call.parents for call in kept)) + self._rows,
            parent_count=_ints(len(call.parents) for call in kept),
            gap_s=None
            if None in gaps
            else np.array([call.gap_s if call.parents else 0.0 for call in kept], np.float64),
        )
        if self._measured:
            ttft_s, e2e_s = ([getattr(call, name) for call in kept] for name in ("ttft_s", "e2e_s"))
            chunk = replace(chunk, ttft_s=np.array(ttft_s, np.float64), e2e_s=np.array(e2e_s, np.float64))
        self._sessions += 1
        self._rows += len(kept)
        return chunk


def _with_tokens(source: Source, calls: Sequence[Call]) -> Iterator[Call]:
    """Calls whose parents are numbered among the yielded ones."""
    stands_for: list[tuple[int, ...]] = []  # of each call: itself, or its parents if it is dropped
    kept = 0
    for call in calls:
        parents = tuple(sorted(set(chain.from_iterable(stands_for[parent] for parent in call.parents))))
        if call.prompt_tokens and call.output_tokens:
            stands_for.append((kept,))
            kept += 1
            yield replace(call, parents=parents)
            continue
        stands_for.append(parents)
        empty = [name for name in ("prompt", "output") if not getattr(call, f"{name}_tokens")]
        source.dropped[f"0 {' and 0 '.join(empty)} tokens"] += 1


def _times(values: list[int | float]) -> Floats | Ints:
    whole = all(isinstance(value, int) for value in values)
    return np.array(values, np.int64) if whole else np.array(values, np.float64)


def _joined(parts: Sequence[Sequence[int] | Ints]) -> Ints:
    return np.concatenate([np.asarray(part, np.int64) for part in parts]) if parts else _NONE


def _ints(values: Iterator[int]) -> Ints:
    return np.fromiter(values, np.int64)
