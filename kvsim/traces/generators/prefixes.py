"""Requests that begin with one of some shared prefixes, as with system prompts or few-shot examples."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from kvsim.errors import UserError
from kvsim.specs.load import Spec
from kvsim.traces.draw import kinds, lengths
from kvsim.traces.laws import Length
from kvsim.traces.trace import MAX_TOKENS, Blocks, Ints, Trace, starts

if TYPE_CHECKING:
    from kvsim.traces.workload import Generate


class Prefixes(Spec):
    """Groups of requests: each has a prefix of `tokens` (drawn once) before the prompt that is drawn for the request.

    A request belongs to a group with probability `share`; group k is drawn in proportion to 1 / k^zipf. Blocks that
    lie in the prefix have ids that the group shares, the rest of a prompt has its own.
    """

    groups: int = Field(ge=1, le=1_000_000)
    tokens: Length
    zipf: float = Field(default=1.0, ge=0, le=10)
    share: float = Field(default=1.0, ge=0, le=1)
    block_tokens: int = Field(default=16, ge=1, le=2**20)


def make(spec: Prefixes, generate: "Generate", seed: int, name: str, folder: Path) -> Trace:
    """The plain trace with prefixes before its prompts."""
    from kvsim.traces.generate import plain

    trace = plain(generate, seed, name, folder)
    for_tokens, for_groups, for_share = np.random.default_rng(seed).spawn(7)[4:]
    prefix = lengths(spec.tokens, spec.groups, for_tokens)
    group = kinds(np.arange(1, spec.groups + 1) ** -spec.zipf, len(trace), for_groups)
    group = np.where(for_share.random(len(trace)) < spec.share, group, -1)
    ahead = np.where(group >= 0, prefix[group], 0)
    prompt = trace.prompt_tokens + ahead
    if prompt.max() > MAX_TOKENS:
        raise UserError(f"{name}: a prompt has {prompt.max()} tokens with its prefix, at most {MAX_TOKENS}")
    blocks = two_runs(group, ahead // spec.block_tokens, prompt // spec.block_tokens, spec.groups, spec.block_tokens)
    return Trace(name, trace.arrival_s, prompt, trace.output_tokens, blocks)


def two_runs(group: Ints, shared: Ints, held: Ints, groups: int, tokens: int) -> Blocks:
    """Blocks of requests with `shared` blocks of their group and the rest, up to `held`, of their own: a run of each.

    Groups count from 0; a request in none has -1.
    """
    ids = np.stack([group, groups + np.arange(len(group))], axis=1).ravel()
    counts = np.stack([shared, held - shared], axis=1).ravel()
    some = counts > 0
    return Blocks(ids[some], starts(some.reshape(-1, 2).sum(axis=1)), tokens, counts[some])
