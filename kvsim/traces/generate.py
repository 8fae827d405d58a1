"""Traces made by rule: arrivals x lengths, all drawn as arrays from one seed.

Arrivals and lengths have random streams of their own, drawn in order: the first N requests are the same however many
are made, and other lengths leave the arrivals as they are.
"""

from pathlib import Path

import numpy as np

from kvsim.errors import UserError
from kvsim.traces.conversations import converse
from kvsim.traces.draw import Rng, arrivals_s, kinds, mixed
from kvsim.traces.read import check_seed, read_trace
from kvsim.traces.trace import Floats, Trace
from kvsim.traces.workload import Arrivals, Generate


def generate(spec: Generate, seed: int = 0, name: str = "generated", folder: Path = Path()) -> Trace:
    """The trace that `spec` describes; the same spec and seed give the same bytes. Files are relative to `folder`.

    Raises:
        UserError: a file that `spec` names cannot be read, or has too few arrivals.
    """
    check_seed(seed)
    count = spec.requests
    if spec.conversations:
        return converse(spec.conversations, count, seed, name)
    assert spec.arrivals  # the spec sees to it
    for_arrivals, for_kinds, for_prompts, for_outputs = np.random.default_rng(seed).spawn(4)
    arrival_s = _arrivals(spec.arrivals, count, for_arrivals, folder)
    if spec.lengths_from:
        source = read_trace(folder / spec.lengths_from, lengths_only=True, tokenizer=spec.tokenizer)
        pairs = for_kinds.integers(len(source), size=count)  # a prompt keeps its own output
        prompt, output = source.prompt_tokens[pairs], source.output_tokens[pairs]
    else:
        shares = [(1.0, spec.prompt, spec.output)]
        if spec.mix:
            shares = [(share.weight, share.prompt, share.output) for share in spec.mix]
        which = kinds([weight for weight, _, _ in shares], count, for_kinds)
        prompt = mixed([length for _, length, _ in shares if length], which, for_prompts)
        output = mixed([length for _, _, length in shares if length], which, for_outputs)
    return Trace(name, arrival_s - arrival_s[0], prompt, output)


def _arrivals(spec: Arrivals, count: int, rng: Rng, folder: Path) -> Floats:
    if spec.process != "trace":
        return arrivals_s(spec, count, rng)
    path = folder / str(spec.trace)
    source = read_trace(path, limit=count)
    if len(source) < count:
        raise UserError(f"{path}: has {len(source)} arrivals, but `requests` asks for {count}")
    return source.arrival_s
