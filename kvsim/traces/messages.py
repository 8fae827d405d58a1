"""Chat messages to tokens and block ids.

A message is written as its role, a line end, its text and a line end, and a prompt ends with the role that is to speak:
about what chat templates add, and a conversation's prompt begins with the prompt and answer before it.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from kvsim.errors import UserError
from kvsim.traces.documents import as_list, as_object
from kvsim.traces.sessions import Call
from kvsim.traces.source import Source, show
from kvsim.traces.tokenizer import tokenizer
from kvsim.traces.tokens import BLOCK_TOKENS, TokenBlocks

ASSISTANT = "assistant"
_ROLES = {
    "human": "user",
    "gpt": ASSISTANT,
    "chatgpt": ASSISTANT,
    "bard": ASSISTANT,
    "model": ASSISTANT,
    "bing": ASSISTANT,
}
_ROLE_KEYS, _TEXT_KEYS = ("role", "from"), ("content", "value", "text", "parts")

Message = tuple[str, str]  # role, text


class Prompts:
    """Counts tokens of text with the source's tokenizer, and numbers blocks of prompts."""

    def __init__(self, source: Source) -> None:
        if source.tokenizer is None:
            raise UserError(
                f"{source.path}: has text, and no token counts: choose --tokenizer, a tokenizer.json, a name that "
                "tiktoken knows, or chars:4 (a token each 4 characters)"
            )
        self._encode = tokenizer(source.tokenizer)
        self._blocks = TokenBlocks()
        source.block_tokens = BLOCK_TOKENS
        self.notes = [
            f"tokens counted with {source.tokenizer}, a role before each message; prompts share what their tokens "
            f"share, in blocks of {BLOCK_TOKENS}"
        ]
        source.notes = self.notes

    def text(self, text: str) -> list[int]:
        """Tokens of an answer, or of a prompt that is no chat."""
        return list(self._encode(text))

    def message(self, message: Message) -> list[int]:
        """Tokens of a message in a prompt."""
        role, text = message
        return [*self._encode(f"{role}\n"), *self._encode(f"{text}\n")]

    def prompt(self, messages: Iterable[Message]) -> list[int]:
        """Tokens of a prompt that the assistant is to answer."""
        tokens = [token for message in messages for token in self.message(message)]
        return [*tokens, *self._encode(f"{ASSISTANT}\n")]

    def with_ids(self, call: Call, prompt: Sequence[int]) -> Call:
        """The call with the block ids of its prompt."""
        return replace(call, ids=self._blocks.ids(prompt))


def no_arrivals(source: Source) -> None:
    """A UserError where arrivals are asked of a format that has none."""
    if not source.lengths_only:
        raise UserError(
            f"{source.path}: has texts but no times, so nobody knows when its requests arrive; write a workload YAML "
            "with `generate: {arrivals: ..., lengths_from: FILE, tokenizer: NAME_OR_FILE}`"
        )


def messages(value: Any, where: str) -> list[Message]:
    """A list of chat messages, as OpenAI, ShareGPT or OpenTelemetry writes them.

    Raises:
        UserError: it is no list of objects with a role and a text.
    """
    return [
        _message(as_object(entry, f"{where}[{at}]"), f"{where}[{at}]") for at, entry in enumerate(as_list(value, where))
    ]


def _message(entry: dict[str, Any], where: str) -> Message:
    role = next((entry[key] for key in _ROLE_KEYS if key in entry), None)
    if not isinstance(role, str):
        raise UserError(f"{where}: must have a {' or '.join(_ROLE_KEYS)} that is a text, but got {show(role)}")
    found = [entry[key] for key in _TEXT_KEYS if key in entry]
    if not found and "tool_calls" not in entry:
        raise UserError(f"{where}: has no {', '.join(_TEXT_KEYS[:-1])} or {_TEXT_KEYS[-1]}")
    calls = entry.get("tool_calls")
    if calls:
        found.append({"tool_calls": calls})
    return _ROLES.get(role, role), plain(found, where)


def plain(content: Any, where: str) -> str:
    """The text of a message's content: a text, or parts; what is no text in it counts as the JSON that it is."""
    try:
        return _plain(content)
    except RecursionError:
        raise UserError(f"{where}: is nested too deep") from None


def _plain(content: Any) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(map(_plain, content))
    if isinstance(content, dict):
        for key in ("text", "content"):
            if isinstance(content.get(key), str):
                return str(content[key])
    return json.dumps(content)
