"""Requests that take their prompts from a pool, as load generators do: after one round nearly all are cached."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from kvsim.errors import UserError
from kvsim.specs.load import Spec
from kvsim.traces.draw import lengths
from kvsim.traces.trace import MAX_TOKENS, Blocks, Ints, Trace, starts

if TYPE_CHECKING:
    from kvsim.traces.workload import Generate


class Pool(Spec):
    """`prompts` prompts, made once, that requests take in turn (cycle) or draw evenly (random); their lengths are drawn
    by `prompt`. Each begins with one of `system_prompts` of `system_tokens` tokens, taken in turn too."""

    prompts: int = Field(ge=1, le=1_000_000)
    order: Literal["cycle", "random"] = "cycle"
    system_prompts: int = Field(default=1, ge=1, le=1_000_000)
    system_tokens: int = Field(default=0, ge=0, le=MAX_TOKENS // 2)
    block_tokens: int = Field(default=16, ge=1, le=2**20)


def make(spec: Pool, generate: "Generate", seed: int, name: str, folder: Path) -> Trace:
    """The plain trace with prompts of the pool.

    Raises:
        UserError: lengths of a mix or a file, a prompt shorter than its system prompt.
    """
    from kvsim.traces.generate import plain

    if generate.prompt is None:
        raise UserError(f"{name}: pool takes its prompts' lengths by `prompt`")
    trace = plain(generate, seed, name, folder)
    for_lengths, for_order = np.random.default_rng(seed).spawn(10)[8:]
    pool = lengths(generate.prompt, spec.prompts, for_lengths)
    if pool.min() <= spec.system_tokens:
        raise UserError(f"{name}: pool: a prompt has {pool.min()} tokens, its system prompt {spec.system_tokens}")
    count = len(trace)
    which = np.arange(count) % spec.prompts if spec.order == "cycle" else for_order.integers(spec.prompts, size=count)
    prompt = pool[which]
    return Trace(name, trace.arrival_s, prompt, trace.output_tokens, _blocks(spec, which, prompt))


def _blocks(spec: Pool, which: Ints, prompt: Ints) -> Blocks:
    """A run of blocks for the system prompt and one for the rest, whole blocks only."""
    ids = np.stack([which % spec.system_prompts, spec.system_prompts + which], axis=1)
    ends = np.stack([np.full_like(which, spec.system_tokens), prompt], axis=1) // spec.block_tokens
    counts = np.diff(ends, axis=1, prepend=0)
    some = counts > 0
    return Blocks(ids[some], starts(some.sum(axis=1)), spec.block_tokens, counts[some])
