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

    A request belongs to a group with probability `share`; group k is drawn in proportion to 1 / k^zipf. All requests
    begin with the same `common_tokens`. Where `own` is given, it is the rest of a prompt with a group's prefix, and
    `prompt` that of the others. Blocks that lie in what is shared have ids that are, the rest of a prompt has its own.
    """

    groups: int = Field(ge=1, le=1_000_000)
    tokens: Length
    zipf: float = Field(default=1.0, ge=0, le=10)
    share: float = Field(default=1.0, ge=0, le=1)
    own: Length | None = None
    common_tokens: int = Field(default=0, ge=0, le=MAX_TOKENS // 2)
    block_tokens: int = Field(default=16, ge=1, le=2**20)


def make(spec: Prefixes, generate: "Generate", seed: int, name: str, folder: Path) -> Trace:
    """The plain trace with prefixes before its prompts."""
    from kvsim.traces.generate import plain

    trace = plain(generate, seed, name, folder)
    for_tokens, for_groups, for_share, for_own = np.random.default_rng(seed).spawn(8)[4:]
    prefix = lengths(spec.tokens, spec.groups, for_tokens)
    group = kinds(np.arange(1, spec.groups + 1) ** -spec.zipf, len(trace), for_groups)
    group = np.where(for_share.random(len(trace)) < spec.share, group, -1)
    ahead = spec.common_tokens + np.where(group >= 0, prefix[group], 0)
    own = trace.prompt_tokens
    if spec.own:
        own = np.where(group >= 0, lengths(spec.own, len(trace), for_own), own)
    prompt = own + ahead
    if prompt.max() > MAX_TOKENS:
        raise UserError(f"{name}: a prompt has {prompt.max()} tokens with its prefix, at most {MAX_TOKENS}")
    return Trace(name, trace.arrival_s, prompt, trace.output_tokens, _blocks(spec, group, ahead, prompt))


def _blocks(spec: Prefixes, group: Ints, ahead: Ints, prompt: Ints) -> Blocks:
    """A run of blocks for what all share, for what the group shares, and for the rest."""
    size = spec.block_tokens
    ids = np.stack([np.zeros_like(group), 1 + group, 1 + spec.groups + np.arange(len(group))], axis=1)
    ends = np.stack([np.full_like(group, spec.common_tokens), ahead, prompt], axis=1) // size
    counts = np.diff(ends, axis=1, prepend=0)
    some = counts > 0
    return Blocks(ids[some], starts(some.sum(axis=1)), size, counts[some])
