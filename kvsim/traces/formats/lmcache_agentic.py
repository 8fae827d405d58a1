"""Agent sessions of lmcache-agentic-traces (Hugging Face): a call on each JSON line, with its whole input.

A session's calls follow each other, `pre_gap` seconds after the one before ended. Sessions have no common clock: all
start at 0 s.
"""

from collections.abc import Iterator

from kvsim.errors import UserError
from kvsim.traces import fields
from kvsim.traces.documents import as_object, documents, value_of
from kvsim.traces.messages import Prompts, messages
from kvsim.traces.sessions import Call, SessionChunks
from kvsim.traces.source import Head, Source, show
from kvsim.traces.trace import Chunk

STRICT = False
TEXT = True


def sniff(head: Head) -> bool:
    return {"session_id", "input", "output_length", "pre_gap"} <= set(head.keys)


def read(source: Source) -> Iterator[Chunk]:
    prompts = Prompts(source)
    source.timed = False
    source.notes.append("sessions have no common clock: each starts at its own 0 s")
    sessions: dict[str, list[Call]] = {}
    for document in documents(source):
        row, where = as_object(document.value, document.where), document.where
        name = value_of(row, "session_id", where)
        if not isinstance(name, str | int):
            raise UserError(f"{where}: session_id must be a text or a whole number, but got {show(name)}")
        calls = sessions.setdefault(str(name), [])
        prompt = prompts.prompt(messages(value_of(row, "input", where), f"{where}: input"))
        output = fields.whole(value_of(row, "output_length", where), f"{where}: output_length")
        gap_s = fields.seconds(row.get("pre_gap") or 0, f"{where}: pre_gap")
        parents = (len(calls) - 1,) if calls else ()
        call = Call(document.line, 0, len(prompt), output, parents, gap_s if calls else 0.0)
        calls.append(prompts.with_ids(call, prompt))
    chunks = SessionChunks(source)
    for calls in sessions.values():
        yield chunks.chunk(calls)
