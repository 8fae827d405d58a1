"""Qwen-Bailian traces, JSON lines with seconds, chats and block hashes (USENIX ATC 2025).

From github.com/alibaba-edu/qwen-bailian-usagetraces-anon. Each turn is a whole prompt and names the turn before it;
blocks have 16 tokens, a prompt's last may be partial. How long answers took is not told: turns come at their stamps.
"""

from collections.abc import Iterator
from typing import Any

from kvsim.errors import UserError
from kvsim.traces import fields
from kvsim.traces.blocksize import BlockSize
from kvsim.traces.documents import as_object, documents, value_of
from kvsim.traces.rows import whole_list
from kvsim.traces.source import Head, Source, show
from kvsim.traces.trace import Chunk
from kvsim.traces.turns import Turns

STRICT = False
_CLOCK = fields.time(1)
_MAX_CHAT = 2**63 - 1


def sniff(head: Head) -> bool:
    return {"chat_id", "input_length", "hash_ids"} <= set(head.keys)


def read(source: Source) -> Iterator[Chunk]:
    turns, size = Turns(source), BlockSize(source, (16,))
    root: dict[int, int] = {}  # chat id of a turn -> that of its chat's first turn
    strays = 0
    for document in documents(source):
        row, where = as_object(document.value, document.where), document.where
        chat, before = (_chat(row, name, where) for name in ("chat_id", "parent_chat_id"))
        strays += before >= 0 and before not in root
        root[chat] = root.get(before, chat)
        arrival = _CLOCK.one(value_of(row, "timestamp", where), f"{where}: timestamp")
        prompt, output = (
            fields.whole(value_of(row, name, where), f"{where}: {name}") for name in ("input_length", "output_length")
        )
        ids = whole_list(row, "hash_ids", where)
        size.check_row(document.line, prompt, len(ids))
        turns.add(document.line, root[chat], arrival, prompt, output, ids=ids)
    source.notes.append(size.note)
    if strays:
        source.notes.append(f"{strays:,} turns name a turn that is not above them: they begin chats of their own")
    yield turns.chunk()


def _chat(row: dict[str, Any], name: str, where: str) -> int:
    value = value_of(row, name, where)
    if isinstance(value, bool) or not isinstance(value, int) or not -1 <= value <= _MAX_CHAT:
        raise UserError(f"{where}: {name} must be a whole number, -1 for none, but got {show(value)}")
    return value
