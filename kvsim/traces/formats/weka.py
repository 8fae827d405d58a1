"""Agent sessions of kv-cache-tester (github.com/callanjfox/kv-cache-tester): a JSON document each.

A file is one session, or has one on each line; a folder or tar archive holds many. Sessions have no common clock: `t`
counts from a session's own start. A call is sent `think_time` after the one before it ended; where that is missing, its
stamp less the end of the one before says it, and `api_time` counts as 0 where that is missing too.

A sub-agent's first call waits for the call before its marker. A marker is stamped when the sub-agent had ended, so it
began `duration_ms` earlier, unless the call that started it had not ended by then. Its own calls are stamped from its
start, or from the session's. The next call after the marker waits for it as well, if it had ended by then.

Ids of scope "local" (the default) are made different between sessions, and runs of them become one id with a count.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from kvsim.errors import UserError
from kvsim.traces import fields
from kvsim.traces.documents import as_list, as_object, documents, value_of
from kvsim.traces.runs import by_request
from kvsim.traces.sessions import Call, SessionChunks
from kvsim.traces.source import Head, Source, show
from kvsim.traces.trace import Chunk, Ints

STRICT = False
SCOPES = ("local", "global")
_MAX_BLOCK_TOKENS = 2**20
_MAX_DEPTH = 16  # of sub-agents in sub-agents
_NAN = float("nan")
_ROUNDING_S = 1.0  # stamps are whole seconds, api_time is not


def sniff(head: Head) -> bool:
    return {"requests", "block_size"} <= set(head.keys)


def read(source: Source) -> Iterator[Chunk]:
    trace = _Trace()
    chunks = SessionChunks(source, measured=True)
    for document in documents(source):
        session = as_object(document.value, document.where)
        source.block_tokens = trace.take_block(session, document.where)
        calls = _Session(trace, document.line).calls(session, document.where)
        source.notes = trace.notes()
        yield chunks.chunk(calls)


@dataclass
class _Trace:
    """What all sessions of a trace have in common, and counts of what they lack."""

    block: tuple[int, str] | None = None  # tokens, scope
    roundings: frozenset[str] = frozenset({"down", "up"})
    ids: int = 0  # used so far
    no_think: int = 0
    no_end: int = 0
    agents: int = 0
    joined: int = 0

    def notes(self) -> list[str]:
        size, scope = self.block or (0, SCOPES[0])
        notes = [
            f"block size {size} tokens: every call has its prompt / {size} ids, rounded {min(self.roundings)}",
            "sessions have no common clock: each starts at its own 0 s",
        ]
        if scope == "local":
            notes.append("ids are local to a session: what sessions share (tools, system prompts) does not count")
        if self.no_think:
            note = f"{self.no_think:,} calls have no think_time: their gap is from stamps"
            notes.append(note + (f", {self.no_end:,} of them after a call without api_time" if self.no_end else ""))
        if self.agents:
            notes.append(
                f"{self.agents:,} sub-agents; {self.joined:,} had ended by the next call, which waits for them"
            )
        return notes

    def take_block(self, session: dict[str, Any], where: str) -> int:
        """A session's block size, which must be that of the others."""
        size = fields.whole(value_of(session, "block_size", where), f"{where}: block_size", _MAX_BLOCK_TOKENS)
        scope = session.get("hash_id_scope", SCOPES[0])
        if size < 1 or scope not in SCOPES:
            raise UserError(
                f"{where}: expected a block_size of at least 1 and hash_id_scope {' or '.join(SCOPES)}, but got "
                f"{size} and {show(scope)}"
            )
        if self.block and (size, scope) != self.block:
            raise UserError(
                f"{where}: blocks of {size} tokens, scope {scope}, but sessions before had blocks of "
                f"{self.block[0]}, scope {self.block[1]}"
            )
        self.block = size, scope
        return size

    def blocks(self, hashes: list[Ints]) -> Iterator[tuple[Ints, Ints | None]]:
        """(ids, counts) of each of a session's calls, the ids unlike those of other sessions if they are local."""
        if self.block and self.block[1] == "global":
            yield from ((ids, None) for ids in hashes)
            return
        runs = by_request(hashes)
        unique, names = np.unique(np.concatenate([ids for ids, _ in runs]), return_inverse=True)
        ends = np.cumsum([len(ids) for ids, _ in runs])
        for ids, (_, counts) in zip(np.split(names + self.ids, ends[:-1]), runs, strict=True):
            yield ids, counts
        self.ids += len(unique)

    def check_rounding(self, calls: list[Call], hashes: list[Ints], where: str) -> None:
        """All calls of the trace have an id for each whole block of their prompt, or all for the last part as well."""
        size = self.block[0] if self.block else 0
        prompt, found = (
            np.array(values) for values in ([call.prompt_tokens for call in calls], list(map(len, hashes)))
        )
        fits = {"down": found == prompt // size, "up": found == -(-prompt // size)}
        self.roundings = frozenset(rounding for rounding in self.roundings if fits[rounding].all())
        if not self.roundings:
            at = int(np.argmin(fits["down"]))
            raise UserError(
                f"{where}: in {prompt[at]} with {found[at]} hash_ids: expected {prompt[at] // size} (blocks of {size} "
                "tokens, rounded down in all calls or up in all calls)"
            )


@dataclass
class _Line:
    """A main line or sub-agent under way: its last call, and sub-agents that the next one may wait for."""

    last: tuple[int, ...]
    ends: list[tuple[int, float]] = field(default_factory=list)
    calls: int = 0


class _Session:
    """A session's calls as they are found: the main line's and those of sub-agents."""

    def __init__(self, trace: _Trace, number: int) -> None:
        self._trace = trace
        self._number = number
        self._calls: list[Call] = []
        self._end_s: list[float] = []
        self._hashes: list[Ints] = []

    def calls(self, session: dict[str, Any], where: str) -> list[Call]:
        """All calls in order of time."""
        self._add(value_of(session, "requests", where), 0.0, _Line(()), f"{where}: requests", 0)
        if not self._calls:
            return []
        self._trace.check_rounding(self._calls, self._hashes, where)
        order = sorted(range(len(self._calls)), key=lambda at: self._calls[at].arrival)
        place = {at: new for new, at in enumerate(order)}
        blocks = list(self._trace.blocks(self._hashes))
        made = []
        for at in order:
            call, (ids, counts) = self._calls[at], blocks[at]
            made.append(replace(call, parents=tuple(map(place.__getitem__, call.parents)), ids=ids, counts=counts))
        return made

    def _add(self, entries: Any, begin_s: float, line: _Line, where: str, depth: int) -> None:
        """The calls of a main line or sub-agent, in order of time; stamps count from `begin_s`."""
        found = []
        for at, value in enumerate(as_list(entries, where)):
            name = f"{where}[{at}]"
            entry = as_object(value, name)
            found.append((fields.seconds(value_of(entry, "t", name), f"{name}: t"), at, name, entry))
        for stamp_s, _, name, entry in sorted(found, key=lambda item: item[:2]):
            if entry.get("type") == "subagent":
                self._add_agent(entry, begin_s + stamp_s, line, name, depth)
            else:
                self._add_call(entry, begin_s + stamp_s, line, name)

    def _add_agent(self, marker: dict[str, Any], stamp_s: float, line: _Line, where: str, depth: int) -> None:
        if depth == _MAX_DEPTH:
            raise UserError(f"{where}: sub-agents are nested more than {_MAX_DEPTH} deep")
        entries = as_list(value_of(marker, "requests", where), f"{where}: requests")
        spent_s = fields.seconds(marker.get("duration_ms") or 0, f"{where}: duration_ms") / 1000
        before_s = max((self._calls[at].arrival for at in line.last), default=0.0)
        ended_s = max((self._end_s[at] for at in line.last), default=0.0)
        start_s = stamp_s - spent_s if stamp_s - spent_s >= ended_s - _ROUNDING_S else stamp_s
        start_s = max(start_s, before_s)
        inner = _Line(line.last)
        self._add(entries, 0.0 if _absolute(entries, start_s) else start_s, inner, f"{where}: requests", depth + 1)
        self._trace.agents += 1
        if inner.calls:
            line.ends.append((inner.last[0], self._end_s[inner.last[0]]))

    def _add_call(self, entry: dict[str, Any], at_s: float, line: _Line, where: str) -> None:
        at_s = max([at_s, *(self._calls[at].arrival for at in line.last)])
        ended = tuple(at for at, end_s in line.ends if end_s <= at_s)
        parents = (*line.last, *ended)
        think_s, api_s, ttft_s = (_known(entry, key, where) for key in ("think_time", "api_time", "ttft"))
        stamped_s = max(0.0, at_s - max((self._end_s[at] for at in parents), default=at_s))
        follows = line.calls > 0 and not ended  # else think_time, if it is there, counts from something else
        if follows and think_s is None:
            self._trace.no_think += 1
            self._trace.no_end += np.isnan(self._calls[line.last[0]].e2e_s)
        gap_s = think_s if follows and think_s is not None else stamped_s
        prompt, output = (fields.whole(value_of(entry, key, where), f"{where}: {key}") for key in ("in", "out"))
        self._hashes.append(_hashes(value_of(entry, "hash_ids", where), f"{where}: hash_ids"))
        times = (_NAN if time_s is None else time_s for time_s in (ttft_s, api_s))
        self._trace.joined += len(ended)
        line.last, line.ends, line.calls = (len(self._calls),), [], line.calls + 1
        self._calls.append(Call(self._number, at_s, prompt, output, parents, gap_s, (), None, *times))
        self._end_s.append(at_s + (api_s or 0.0))


def _absolute(entries: list[Any], start_s: float) -> bool:
    """Whether a sub-agent's stamps count from the session's start, not from its own, which is `start_s`."""
    first = entries[0].get("t") if entries and isinstance(entries[0], dict) else None
    return isinstance(first, int | float) and start_s > _ROUNDING_S and first >= start_s - _ROUNDING_S


def _known(entry: dict[str, Any], name: str, where: str) -> float | None:
    value = entry.get(name)
    return None if value is None else fields.seconds(value, f"{where}: {name}")


def _hashes(ids: Any, where: str) -> Ints:
    if set(map(type, as_list(ids, where))) <= {int}:
        try:
            array = np.fromiter(ids, np.int64, len(ids))
        except OverflowError:
            pass
        else:
            if not len(array) or array.min() >= 0:
                return array
    return np.array([fields.whole(value, f"{where}[{at}]", 2**63 - 1) for at, value in enumerate(ids)], np.int64)
