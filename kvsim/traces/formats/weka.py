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
from kvsim.traces.runs import compressed
from kvsim.traces.sessions import Call, SessionChunks
from kvsim.traces.source import Head, Source, show
from kvsim.traces.trace import Chunk, Ints, starts

STRICT = False
SCOPES = ("local", "global")
_MAX_BLOCK_TOKENS = 2**20
_MAX_DEPTH = 16  # of sub-agents in sub-agents
_ROUNDING_S = 1.0  # stamps are whole seconds, api_time is not


def sniff(head: Head) -> bool:
    return {"requests", "block_size"} <= set(head.keys)


def read(source: Source) -> Iterator[Chunk]:
    reader = _Reader(source)
    chunks = SessionChunks(source, measured=True)
    for document in documents(source):
        calls = reader.calls(as_object(document.value, document.where), document.where, document.line)
        source.notes = reader.notes()
        yield chunks.chunk(calls)


@dataclass
class _Line:
    """A main line or sub-agent under way: its last call, and sub-agents that the next one may wait for."""

    last: tuple[int, ...]
    ends: list[tuple[int, float]] = field(default_factory=list)
    calls: int = 0


class _Reader:
    """What all sessions of a trace have in common, and counts of what they lack."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._block: tuple[int, str] | None = None
        self._roundings = {"down", "up"}
        self._ids = 0  # used so far
        self._no_think = self._no_end = self._agents = self._joined = 0

    def notes(self) -> list[str]:
        size, scope = self._block or (0, SCOPES[0])
        notes = [
            f"block size {size} tokens: every call has its prompt / {size} ids, rounded {min(self._roundings)}",
            "sessions have no common clock: each starts at its own 0 s",
        ]
        if scope == "local":
            notes.append("ids are local to a session: what sessions share (tools, system prompts) does not count")
        if self._no_think:
            note = f"{self._no_think:,} calls have no think_time: their gap is from stamps"
            notes.append(note + (f", {self._no_end:,} of them after a call without api_time" if self._no_end else ""))
        if self._agents:
            notes.append(
                f"{self._agents:,} sub-agents; {self._joined:,} had ended by the next call, which waits for them"
            )
        return notes

    def calls(self, session: dict[str, Any], where: str, line: int) -> list[Call]:
        """A session's calls in order of time."""
        block_tokens, scope = self._take_block(session, where)
        self._made: list[Call] = []
        self._end_s: list[float] = []
        self._hashes: list[Ints] = []
        self._add(value_of(session, "requests", where), 0.0, _Line(()), f"{where}: requests", line, 0)
        if not self._made:
            return []
        self._check_rounding(block_tokens, where)
        self._set_ids(scope)
        order = sorted(range(len(self._made)), key=lambda at: self._made[at].arrival)
        place = {at: new for new, at in enumerate(order)}
        return [
            replace(call, parents=tuple(place[at] for at in call.parents))
            for call in map(self._made.__getitem__, order)
        ]

    def _add(self, entries: Any, begin_s: float, line: _Line, where: str, number: int, depth: int) -> None:
        """The calls of a main line or sub-agent, in order of time; stamps count from `begin_s`."""
        found = []
        for at, value in enumerate(as_list(entries, where)):
            entry = as_object(value, f"{where}[{at}]")
            found.append((fields.seconds(value_of(entry, "t", f"{where}[{at}]"), f"{where}[{at}]: t"), at, entry))
        for stamp_s, at, entry in sorted(found, key=lambda item: item[:2]):
            if entry.get("type") == "subagent":
                self._add_agent(entry, begin_s + stamp_s, line, f"{where}[{at}]", number, depth)
            else:
                self._add_call(entry, begin_s + stamp_s, line, f"{where}[{at}]", number)

    def _add_agent(
        self, marker: dict[str, Any], stamp_s: float, line: _Line, where: str, number: int, depth: int
    ) -> None:
        if depth == _MAX_DEPTH:
            raise UserError(f"{where}: sub-agents are nested more than {_MAX_DEPTH} deep")
        entries = as_list(value_of(marker, "requests", where), f"{where}: requests")
        spent_s = fields.seconds(marker.get("duration_ms") or 0, f"{where}: duration_ms") / 1000
        before_s = max((self._made[at].arrival for at in line.last), default=0.0)
        ended_s = max((self._end_s[at] for at in line.last), default=0.0)
        start_s = stamp_s - spent_s if stamp_s - spent_s >= ended_s - _ROUNDING_S else stamp_s
        start_s = max(start_s, before_s)
        first = entries[0] if entries else {}
        stamp = first.get("t") if isinstance(first, dict) else None
        absolute = isinstance(stamp, int | float) and start_s > _ROUNDING_S and stamp >= start_s - _ROUNDING_S
        inner = _Line(line.last)
        self._add(entries, 0.0 if absolute else start_s, inner, f"{where}: requests", number, depth + 1)
        self._agents += 1
        if inner.calls:
            line.ends.append((inner.last[0], self._end_s[inner.last[0]]))

    def _add_call(self, entry: dict[str, Any], at_s: float, line: _Line, where: str, number: int) -> None:
        at_s = max([at_s, *(self._made[at].arrival for at in line.last)])
        ended = tuple(at for at, end_s in line.ends if end_s <= at_s)
        self._joined += len(ended)
        parents = (*line.last, *ended)
        think_s, api_s, ttft_s = (_known(entry, key, where) for key in ("think_time", "api_time", "ttft"))
        gap_s = think_s
        if ended or not line.calls:
            gap_s = max(0.0, at_s - max((self._end_s[at] for at in parents), default=at_s))
        elif gap_s is None:
            self._no_think += 1
            self._no_end += np.isnan(self._made[line.last[0]].e2e_s)
            gap_s = max(0.0, at_s - self._end_s[line.last[0]])
        prompt, output = (fields.whole(value_of(entry, key, where), f"{where}: {key}") for key in ("in", "out"))
        self._hashes.append(_hashes(value_of(entry, "hash_ids", where), f"{where}: hash_ids"))
        nan = float("nan")
        times = (nan if ttft_s is None else ttft_s, nan if api_s is None else api_s)
        line.last, line.ends, line.calls = (len(self._made),), [], line.calls + 1
        self._made.append(Call(number, at_s, prompt, output, parents, gap_s, (), None, *times))
        self._end_s.append(at_s + (api_s or 0.0))

    def _take_block(self, session: dict[str, Any], where: str) -> tuple[int, str]:
        size = fields.whole(value_of(session, "block_size", where), f"{where}: block_size", _MAX_BLOCK_TOKENS)
        scope = session.get("hash_id_scope", SCOPES[0])
        if size < 1 or scope not in SCOPES:
            raise UserError(
                f"{where}: expected a block_size of at least 1 and hash_id_scope {' or '.join(SCOPES)}, but got "
                f"{size} and {show(scope)}"
            )
        if self._block and (size, scope) != self._block:
            raise UserError(
                f"{where}: blocks of {size} tokens, scope {scope}, but sessions before had blocks of "
                f"{self._block[0]}, scope {self._block[1]}"
            )
        self._block = size, scope
        self._source.block_tokens = size
        return self._block

    def _check_rounding(self, size: int, where: str) -> None:
        prompt = np.array([call.prompt_tokens for call in self._made])
        blocks = np.array([len(ids) for ids in self._hashes])
        fits = {"down": blocks == prompt // size, "up": blocks == -(-prompt // size)}
        self._roundings = {rounding for rounding in self._roundings if fits[rounding].all()}
        if not self._roundings:
            at = int(np.argmin(fits["down"]))
            raise UserError(
                f"{where}: in {prompt[at]} with {blocks[at]} hash_ids: expected {prompt[at] // size} (blocks of {size} "
                "tokens, rounded down in all calls or up in all calls)"
            )

    def _set_ids(self, scope: str) -> None:
        if scope == "global":
            self._made = [replace(call, ids=ids) for call, ids in zip(self._made, self._hashes, strict=True)]
            return
        start = starts(np.array([len(ids) for ids in self._hashes]))
        ids, start, counts = compressed(np.concatenate(self._hashes), start)
        unique, names = np.unique(ids, return_inverse=True)
        names += self._ids
        self._ids += len(unique)
        parts = list(map(slice, start[:-1], start[1:]))
        self._made = [
            replace(call, ids=names[part], counts=counts[part]) for call, part in zip(self._made, parts, strict=True)
        ]


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
