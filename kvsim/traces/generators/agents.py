"""Agent runs: loops of calls and tools over a growing context, with sub-agents, compacted when it is too long."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field, model_validator

from kvsim.errors import UserError
from kvsim.specs.load import Spec
from kvsim.traces.draw import Rng, kinds, lengths, sigma
from kvsim.traces.laws import Length
from kvsim.traces.trace import MAX_TOKENS, Blocks, Sessions, Trace, starts

if TYPE_CHECKING:
    from kvsim.traces.workload import Generate

_MOST_CALLS = 5_000_000
_MOST_OF_A_RUN = 100_000
_LOOK = 100  # runs between two looks at what is enough


class Agents(Spec):
    """Runs that begin as a Poisson process. A run is some user turns; a turn is some calls, each after the tools of the
    one before; a call's prompt is the system prompt (tools included) and all that was said, answered and returned.

    Between two calls, with probability `subagent_share`, 1 to `fan_out` sub-agents work side by side: loops of their
    own with the same system prompt; the next call waits for all of them and takes in their last outputs. A context that
    would exceed `compact_at` tokens is replaced by the system prompt and a summary of `compact_to` tokens. Numbers of
    turns, calls and sub-agents' calls are geometric; tool and think times lognormal.
    """

    runs_per_s: float = Field(ge=1e-9, le=1e6)
    turns_mean: float = Field(default=2.0, ge=1, le=1000)
    calls_mean: float = Field(default=10.0, ge=1, le=1000)
    think_mean_s: float = Field(default=30.0, ge=0, le=1e9)
    think_cv: float = Field(default=1.5, ge=0, le=100)
    tool_mean_s: float = Field(default=3.0, ge=0, le=1e9)
    tool_cv: float = Field(default=2.0, ge=0, le=100)
    system_prompts: int = Field(default=1, ge=1, le=100_000)
    zipf: float = Field(default=1.0, ge=0, le=10)
    system_tokens: int = Field(default=16_000, ge=0, le=MAX_TOKENS // 2)
    message: Length
    result: Length
    output: Length
    subagent_share: float = Field(default=0.05, ge=0, le=1)
    fan_out: int = Field(default=3, ge=1, le=100)
    subagent_calls_mean: float = Field(default=5.0, ge=1, le=1000)
    compact_at: int = Field(default=200_000, ge=1, le=MAX_TOKENS // 2)
    compact_to: int = Field(default=10_000, ge=0, le=MAX_TOKENS // 2)
    block_tokens: int = Field(default=64, ge=1, le=2**20)

    @model_validator(mode="after")
    def _room(self) -> "Agents":
        if self.system_tokens + self.compact_to >= self.compact_at:
            raise ValueError("system_tokens + compact_to must be less than compact_at")
        return self


@dataclass
class _Run:
    """Calls of a run in the order in which they are made, parents first."""

    begin_s: float
    arrival_s: list[float] = field(default_factory=list)
    prompt: list[int] = field(default_factory=list)
    output: list[int] = field(default_factory=list)
    parents: list[tuple[int, ...]] = field(default_factory=list)
    gap_s: list[float] = field(default_factory=list)
    runs: list[list[tuple[int, int]]] = field(default_factory=list)  # of each call: (id in this run, blocks)
    ids: int = 0

    def call(self, context: "_Context", output: int, parents: tuple[int, ...], gap_s: float) -> int:
        """Adds a call; nominally it arrives its gap after the last of its parents did."""
        at_s = max((self.arrival_s[parent] for parent in parents), default=self.begin_s) + gap_s
        self.arrival_s.append(at_s)
        self.prompt.append(context.tokens)
        self.output.append(output)
        self.parents.append(parents)
        self.gap_s.append(gap_s)
        self.runs.append(context.blocks(self))
        if len(self.prompt) > _MOST_OF_A_RUN:
            raise UserError(f"agents: a run has over {_MOST_OF_A_RUN} calls: lower turns_mean, calls_mean or fan_out")
        return len(self.prompt) - 1


@dataclass
class _Context:
    """What a prompt holds: the system prompt, and text that grows."""

    spec: Agents
    tokens: int
    _own: list[tuple[int, int]] = field(default_factory=list)
    _named: int = 0

    def add(self, tokens: int) -> None:
        """Append text; a context that would become too long is compacted first, and its blocks are others then."""
        if self.tokens + tokens > self.spec.compact_at:
            self.tokens, self._own, self._named = self.spec.system_tokens + self.spec.compact_to, [], 0
        self.tokens = min(self.tokens + tokens, self.spec.compact_at)

    def blocks(self, run: _Run) -> list[tuple[int, int]]:
        """Runs of full blocks behind the system prompt's: what is new since the last call gets an id of its own."""
        size = self.spec.block_tokens
        new = self.tokens // size - self.spec.system_tokens // size - self._named
        if new > 0:
            self._own.append((run.ids, new))
            self._named += new
            run.ids += 1
        return list(self._own)


def make(spec: Agents, generate: "Generate", seed: int, name: str, folder: Path) -> Trace:
    """The first `generate.requests` calls, by nominal arrival: in a real, closed loop a call also waits for answers."""
    if generate.requests > _MOST_CALLS:
        raise UserError(f"{name}: agents: requests must be at most {_MOST_CALLS:,}, so that they fit in memory")
    runs: list[_Run] = []
    system: list[int] = []
    begin_s, enough_s = 0.0, np.inf  # no run that begins after `enough_s` has any of the first requests
    moments: list[float] = []
    begins = np.random.default_rng(seed)
    while True:
        begin_s += float(begins.standard_exponential()) / spec.runs_per_s
        if len(moments) >= generate.requests and (np.isinf(enough_s) or len(runs) % _LOOK == 0):
            enough_s = float(np.partition(moments, generate.requests - 1)[generate.requests - 1])
        if begin_s >= enough_s:
            break
        rng = np.random.default_rng([seed, len(runs)])
        system.append(int(kinds(np.arange(1, spec.system_prompts + 1) ** -spec.zipf, 1, rng)[0]))
        runs.append(_played(spec, begin_s, rng))
        moments += runs[-1].arrival_s
    return _trace(spec, runs, system, name).head(generate.requests)


def _played(spec: Agents, begin_s: float, rng: Rng) -> _Run:
    run, context = _Run(begin_s), _Context(spec, spec.system_tokens)
    waits: tuple[int, ...] = ()
    for turn in range(int(rng.geometric(1 / spec.turns_mean))):
        gap_s = _pause_s(spec.think_mean_s, spec.think_cv, rng) if turn else 0.0
        text = _one(spec.message, rng)
        for call in range(int(rng.geometric(1 / spec.calls_mean))):
            if call:
                text, gap_s = _one(spec.result, rng), _pause_s(spec.tool_mean_s, spec.tool_cv, rng)
                if rng.random() < spec.subagent_share:
                    waits, reports = _delegated(spec, run, waits, rng)
                    text, gap_s = text + reports, 0.0
            context.add(text)
            output = _one(spec.output, rng)
            waits = (run.call(context, output, waits, gap_s),)
            context.add(output)
    return run


def _delegated(spec: Agents, run: _Run, waits: tuple[int, ...], rng: Rng) -> tuple[tuple[int, ...], int]:
    """(last calls of the sub-agents that a call starts, tokens that they report)."""
    last: list[int] = []
    reports = 0
    for _ in range(int(rng.integers(1, spec.fan_out + 1))):
        context, before, gap_s = _Context(spec, spec.system_tokens), waits, 0.0
        context.add(_one(spec.message, rng))
        output = 0
        for _ in range(int(rng.geometric(1 / spec.subagent_calls_mean))):
            output = _one(spec.output, rng)
            before = (run.call(context, output, before, gap_s),)
            context.add(output + _one(spec.result, rng))
            gap_s = _pause_s(spec.tool_mean_s, spec.tool_cv, rng)
        last += before
        reports += output
    return tuple(last), reports


def _one(spec: Length, rng: Rng) -> int:
    return int(lengths(spec, 1, rng)[0])


def _pause_s(mean_s: float, cv: float, rng: Rng) -> float:
    spread = sigma(Length(mean=1.0, cv=cv))
    return float(mean_s * np.exp(spread * rng.standard_normal() - spread**2 / 2))


def _trace(spec: Agents, runs: list[_Run], system: list[int], name: str) -> Trace:
    """All calls, by arrival. A run's ids follow those of the system prompts and of the runs before it."""
    flat: list[tuple[int, int]] = []
    block_count, parents, parent_count = [], [], []
    begin, free, shared = 0, spec.system_prompts, spec.system_tokens // spec.block_tokens
    for run, which in zip(runs, system, strict=True):
        for own, waits in zip(run.runs, run.parents, strict=True):
            mine = [(which, shared)] if shared else []
            mine += [(free + number, blocks) for number, blocks in own]
            flat += mine
            block_count.append(len(mine))
            parents += [begin + parent for parent in waits]
            parent_count.append(len(waits))
        begin += len(run.prompt)
        free += run.ids
    pairs = np.array(flat, np.int64).reshape(-1, 2)
    blocks = Blocks(pairs[:, 0].copy(), starts(np.array(block_count)), spec.block_tokens, pairs[:, 1].copy())
    session = np.repeat(np.arange(len(runs)), [len(run.prompt) for run in runs])
    gap_s = np.array([gap_s for run in runs for gap_s in run.gap_s])
    sessions = Sessions(session, np.array(parents, np.int64), starts(np.array(parent_count)), gap_s, timed=False)
    arrival_s = np.array([at_s for run in runs for at_s in run.arrival_s])
    prompt, output = (
        np.array([tokens for run in runs for tokens in getattr(run, key)]) for key in ("prompt", "output")
    )
    trace = Trace(name, arrival_s, prompt, output, blocks, sessions=sessions).take(np.argsort(arrival_s, kind="stable"))
    return Trace(**{**vars(trace), "arrival_s": trace.arrival_s - trace.arrival_s[0]})
