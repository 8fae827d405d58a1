"""Chats whose prompts share prefixes: arrivals, lengths, and the ids of the blocks of each prompt."""

import numpy as np

from kvsim.errors import UserError
from kvsim.traces.draw import kinds, lengths
from kvsim.traces.trace import Blocks, Floats, Ints, Sessions, Trace, starts
from kvsim.traces.workload import Conversations

_MOST_TURNS = 10_000_000
_MOST_BLOCKS = 100_000_000


def converse(spec: Conversations, requests: int, seed: int, name: str) -> Trace:
    """The first `requests` turns, by arrival, of chats that begin as a Poisson process.

    Chats are sessions: in a closed loop a turn's pause begins when the answer before ended. Arrivals, for an open loop,
    have each pause begin when the turn before arrived.

    A block of `block_tokens` that lies in the system prompt has an id for all chats that share the prompt, a full block
    of a chat one for all turns of the chat, and the partial block at the end of a prompt one of its own.

    Raises:
        UserError: more turns or blocks than fit in memory.
    """
    if requests * spec.turns_mean > _MOST_TURNS:
        raise UserError(f"{name}: requests x turns_mean must be at most {_MOST_TURNS}, so that it fits in memory")
    streams = np.random.default_rng(seed).spawn(6)
    begin_s = np.cumsum(streams[0].standard_exponential(requests) / spec.chats_per_s)
    turns = streams[1].geometric(1 / spec.turns_mean, requests)  # of `requests` chats: the last can begin no later
    system = kinds(1 / np.arange(1, spec.system_prompts + 1), requests, streams[2])
    chat = np.repeat(np.arange(requests), turns)
    first = np.repeat(np.cumsum(turns) - turns, turns)  # row of the chat's first turn
    pause_s = streams[3].standard_exponential(len(chat)) * spec.pause_mean_s
    message, answer = lengths(spec.message, len(chat), streams[4]), lengths(spec.answer, len(chat), streams[5])
    message = np.minimum(message, spec.max_prompt_tokens - spec.system_tokens)  # every chat has its first turn

    said = np.cumsum(message + answer)
    prompt = spec.system_tokens + said - (said - message - answer)[first] - answer
    waited_s = np.cumsum(pause_s)
    arrival_s = begin_s[chat] + waited_s - waited_s[first]
    rows = np.flatnonzero(prompt <= spec.max_prompt_tokens)  # prompts grow: a chat loses its last turns
    rows = rows[np.argsort(arrival_s[rows], kind="stable")][:requests]
    blocks = _blocks(spec, prompt[rows], chat[rows], system[chat[rows]])
    sessions = _sessions(chat[rows], np.where(rows == first[rows], 0.0, pause_s[rows]))
    arrival_s = arrival_s[rows]
    return Trace(name, arrival_s - arrival_s[0], prompt[rows], answer[rows], blocks, sessions=sessions)


def _sessions(chat: Ints, pause_s: Floats) -> Sessions:
    """Each turn waits for the one before of its chat: rows come in order of arrival, so of turns too."""
    order = np.argsort(chat, kind="stable")
    before = np.full(len(chat), -1, np.int64)
    same = chat[order][1:] == chat[order][:-1]
    before[order[1:][same]] = order[:-1][same]
    later = before >= 0
    _, number = np.unique(chat, return_inverse=True)
    return Sessions(number, before[later], starts(later.astype(np.int64)), np.where(later, pause_s, 0.0))


def _blocks(spec: Conversations, prompt: Ints, chat: Ints, system: Ints) -> Blocks:
    size = spec.block_tokens
    count = -(-prompt // size)
    start = np.concatenate([[0], np.cumsum(count)])
    if start[-1] > _MOST_BLOCKS:
        raise UserError(f"conversations: would have {start[-1]} blocks, at most {_MOST_BLOCKS}: raise block_tokens")
    row = np.repeat(np.arange(len(prompt)), count)
    at = np.arange(start[-1]) - start[row]  # 0, 1, 2, ... inside each prompt
    shared = spec.system_tokens // size
    longest = int(count.max()) + 1
    key = (spec.system_prompts + chat[row]) * longest + at
    key = np.where(at < shared, system[row] * longest + at, key)
    partial = (at + 1) * size > prompt[row]
    key = np.where(partial, -1 - row, key)
    _, first, which = np.unique(key, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))  # ids count up in the order in which they appear
    return Blocks(rank[which], start.astype(np.int64), size)
