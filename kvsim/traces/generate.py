"""Traces made by rule: arrivals x lengths, all drawn as arrays from one seed, or a generator of `traces.generators`.

Arrivals and lengths have random streams of their own, drawn in order: the first N requests are the same however many
are made, and other lengths leave the arrivals as they are.
"""

import importlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kvsim.errors import UserError
from kvsim.traces.arrivals import ROWS, arrival_parts
from kvsim.traces.conversations import converse
from kvsim.traces.draw import Rng, kinds, mixed
from kvsim.traces.read import check_seed, read_trace
from kvsim.traces.trace import Floats, Trace
from kvsim.traces.workload import GENERATORS, Generate


def generate(spec: Generate, seed: int = 0, name: str = "generated", folder: Path = Path()) -> Trace:
    """The trace that `spec` describes; the same spec and seed give the same bytes. Files are relative to `folder`.

    Raises:
        UserError: a file that `spec` names cannot be read, or has too few arrivals.
    """
    check_seed(seed)
    count = spec.requests
    if spec.conversations:
        return converse(spec.conversations, count, seed, name)
    for key in GENERATORS:
        if (chosen := getattr(spec, key)) is not None:
            made: Trace = importlib.import_module(f"kvsim.traces.generators.{key}").make(
                chosen, spec, seed, name, folder
            )
            return made
    return plain(spec, seed, name, folder)


def plain(spec: Generate, seed: int, name: str, folder: Path) -> Trace:
    """A trace of arrivals and lengths alone."""
    arrival_s = np.empty(spec.requests)
    prompt, output = np.empty(spec.requests, np.int64), np.empty(spec.requests, np.int64)
    at = 0
    for part in parts(spec, seed, name, folder):
        here = slice(at, at + len(part))
        arrival_s[here], prompt[here], output[here] = part.arrival_s, part.prompt_tokens, part.output_tokens
        at += len(part)
    return Trace(name, arrival_s, prompt, output)


def parts(spec: Generate, seed: int, name: str, folder: Path = Path()) -> Iterator[Trace]:
    """The trace of arrivals and lengths as a run of shorter ones, so that millions need little memory."""
    check_seed(seed)
    for_arrivals, for_kinds, for_prompts, for_outputs = np.random.default_rng(seed).spawn(4)
    shares = [(share.weight, share.prompt, share.output) for share in spec.mix or []]
    if spec.prompt and spec.output:
        shares = [(1.0, spec.prompt, spec.output)]
    pairs = None
    if spec.lengths_from:
        pairs = read_trace(folder / spec.lengths_from, lengths_only=True, tokenizer=spec.tokenizer)
    begin_s: float | None = None
    for arrival_s in _arrivals(spec, for_arrivals, folder):
        if pairs:
            which = for_kinds.integers(len(pairs), size=len(arrival_s))  # a prompt keeps its own output
            prompt, output = pairs.prompt_tokens[which], pairs.output_tokens[which]
        else:
            which = kinds([weight for weight, _, _ in shares], len(arrival_s), for_kinds)
            prompt = mixed([length for _, length, _ in shares], which, for_prompts)
            output = mixed([length for _, _, length in shares], which, for_outputs)
        begin_s = float(arrival_s[0]) if begin_s is None else begin_s
        yield Trace(name, arrival_s - begin_s, prompt, output)


def _arrivals(spec: Generate, rng: Rng, folder: Path) -> Iterator[Floats]:
    arrivals = spec.arrivals
    assert arrivals
    if arrivals.process != "trace":
        yield from arrival_parts(arrivals, spec.requests, rng)
        return
    path = folder / str(arrivals.trace)
    source = read_trace(path, limit=spec.requests)
    if len(source) < spec.requests:
        raise UserError(f"{path}: has {len(source)} arrivals, but `requests` asks for {spec.requests}")
    for at in range(0, spec.requests, ROWS):
        yield source.arrival_s[at : at + ROWS]


def is_plain(spec: Generate) -> bool:
    """Whether `parts` makes this trace."""
    return spec.conversations is None and all(getattr(spec, key) is None for key in GENERATORS)
