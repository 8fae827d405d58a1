"""Conversations as ShareGPT has them: `conversations` of messages, a JSON array of them or one on each line.

Every answer is a call whose prompt is all that was said before it. Nothing says when: the lengths serve generators
(`lengths_from`).
"""

from collections.abc import Iterator

from kvsim.traces.documents import as_object, documents, value_of
from kvsim.traces.messages import ASSISTANT, Prompts, messages, no_arrivals
from kvsim.traces.sessions import Call, SessionChunks
from kvsim.traces.source import Head, Source
from kvsim.traces.trace import Chunk

STRICT = False
TEXT = True


def sniff(head: Head) -> bool:
    return "conversations" in head.keys


def read(source: Source) -> Iterator[Chunk]:
    no_arrivals(source)
    prompts = Prompts(source)
    source.timed = False
    chunks = SessionChunks(source)
    silent = 0
    for document in documents(source):
        values = document.value if isinstance(document.value, list) else [document.value]
        for at, value in enumerate(values):
            where = document.where if value is document.value else f"{document.where}: [{at}]"
            entry = as_object(value, where)
            calls: list[Call] = []
            said: list[int] = []
            for role, text in messages(value_of(entry, "conversations", where), f"{where}: conversations"):
                if role == ASSISTANT and said:
                    prompt = [*said, *prompts.prompt([])]
                    parents = (len(calls) - 1,) if calls else ()
                    call = Call(document.line, 0, len(prompt), len(prompts.text(text)), parents, 0.0)
                    calls.append(prompts.with_ids(call, prompt))
                said += prompts.message((role, text))
            silent += not calls
            if silent:
                source.notes = [*prompts.notes, f"{silent:,} conversations have no answer to a message: left out"]
            yield chunks.chunk(calls)
