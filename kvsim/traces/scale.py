"""A trace with more or less of its load: its rate, its pauses, its lengths."""

import math
from dataclasses import replace

import numpy as np

from kvsim.errors import UserError
from kvsim.traces.blocks import held_blocks
from kvsim.traces.notes import noted
from kvsim.traces.trace import MAX_TOKENS, Blocks, Floats, Ints, Trace


def scale(trace: Trace, *, rate: float = 1.0, gaps: float = 1.0, prompt: float = 1.0, output: float = 1.0) -> Trace:
    """The trace with each figure multiplied; 1 leaves it as it is.

    Args:
        rate: requests, or sessions, begin `rate` times as often. Inside a session time runs as before: users do not
            think faster.
        gaps: think and tool times of sessions, and the time between the arrivals of a session's requests.
        prompt: tokens of prompts. With block ids each block has `prompt` times its tokens, so that every request keeps
            its ids and shares what it shared.
        output: tokens of outputs; prompts that repeat an output stay as they are.

    Raises:
        UserError: a factor that is not positive or too large, gaps without sessions, blocks that would not be whole.
    """
    for name, factor in (("rate", rate), ("gaps", gaps), ("prompt", prompt), ("output", output)):
        if not (math.isfinite(factor) and 1e-9 <= factor <= 1e9):
            raise UserError(f"{name} must be from 1e-9 to 1e9, but got {factor}")
    if gaps != 1 and not trace.sessions:
        raise UserError("gaps: the trace has no sessions, so no pauses inside them")
    scaled = _with_lengths(trace, prompt, output)
    if rate != 1 or gaps != 1:
        scaled = _with_times(scaled, rate, gaps)
    factors = {"rate": rate, "gaps": gaps, "prompt": prompt, "output": output}
    told = ", ".join(f"{name} x {factor:g}" for name, factor in factors.items() if factor != 1)
    if trace.blocks and scaled.blocks and scaled.blocks.tokens != trace.blocks.tokens:
        told += f" (blocks of {trace.blocks.tokens} tokens have {scaled.blocks.tokens} now)"
    measured = None if told else scaled.measured  # nobody measured this load
    return noted(replace(scaled, measured=measured), [trace], *([f"scaled: {told}"] if told else []))


def _with_times(trace: Trace, rate: float, gaps: float) -> Trace:
    sessions = trace.sessions
    if not sessions:
        return replace(trace, arrival_s=trace.arrival_s / rate)
    _, first, which = np.unique(sessions.id, return_index=True, return_inverse=True)
    begin_s: Floats = trace.arrival_s[first][which]  # rows are sorted: a session's first row is its earliest
    arrival_s = begin_s / rate + (trace.arrival_s - begin_s) * gaps
    gap_s = None if sessions.gap_s is None else sessions.gap_s * gaps
    moved = replace(trace, arrival_s=arrival_s, sessions=replace(sessions, gap_s=gap_s))
    return moved.take(np.argsort(arrival_s, kind="stable"))


def _with_lengths(trace: Trace, prompt: float, output: float) -> Trace:
    blocks, prompt_tokens = trace.blocks, trace.prompt_tokens
    if prompt != 1 and blocks:
        size = _whole(blocks.tokens * prompt, blocks, prompt)
        held = held_blocks(blocks)
        partial = (held * blocks.tokens > prompt_tokens).astype(np.int64)  # 1: the last block has but a part of it
        tail = prompt_tokens - (held - partial) * blocks.tokens
        tail = np.rint(tail * prompt).astype(np.int64)
        # a part stays a part: at least a token, and less than a block, so that the number of ids stays right
        tail = np.where(partial == 1, np.clip(tail, 1, size), np.clip(tail, held == 0, size - 1))
        prompt_tokens, blocks = (held - partial) * size + tail, replace(blocks, tokens=size)
    elif prompt != 1:
        prompt_tokens = _times(prompt_tokens, prompt)
    output_tokens = trace.output_tokens if output == 1 else _times(trace.output_tokens, output)
    for name, tokens in (("prompt", prompt_tokens), ("output", output_tokens)):
        if tokens.min() < 1 or tokens.max() > MAX_TOKENS:
            raise UserError(
                f"{name}: lengths would be {tokens.min()} to {tokens.max()} tokens, must be 1 to {MAX_TOKENS}"
            )
    return replace(trace, prompt_tokens=prompt_tokens, output_tokens=output_tokens, blocks=blocks)


def _whole(tokens: float, blocks: Blocks, factor: float) -> int:
    size = round(tokens)
    if size < 1 or abs(tokens - size) > 1e-9 * tokens:
        near = max(1, size) / blocks.tokens
        raise UserError(
            f"prompt x {factor:g}: blocks of {blocks.tokens} tokens would have {tokens:g}, which is no whole number; "
            f"the nearest factor is {near:.10g}"
        )
    return size


def _times(tokens: Ints, factor: float) -> Ints:
    scaled: Ints = np.clip(np.rint(tokens * factor), 1, 2.0**62).astype(np.int64)
    return scaled
