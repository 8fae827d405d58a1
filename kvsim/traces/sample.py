"""Part of a trace that behaves like the whole: whole sessions or prefix families, never single rows of them."""

from dataclasses import replace

import numpy as np

from kvsim.errors import UserError
from kvsim.traces.notes import noted
from kvsim.traces.stats import infinite_cache_hits
from kvsim.traces.trace import Ints, Trace

COMMON = 0.1  # a block in more than this share of the requests ties none of them together


def sample(trace: Trace, *, share: float | None = None, number: int | None = None, seed: int = 0) -> Trace:
    """A share or a number of a trace's units, drawn with `seed`; a smaller sample is a part of a larger one.

    Units are sessions; without them prefix families (see `families`); where nothing is shared, requests.

    Raises:
        UserError: neither or both of share and number, or one out of range.
    """
    if (share is None) == (number is None):
        raise UserError("a sample needs either a share or a number")
    what, unit = units(trace)
    count = int(unit.max()) + 1
    if share is not None:
        if not 0 < share <= 1:
            raise UserError(f"share must be more than 0 and at most 1, but got {share}")
        number = max(1, round(share * count))
    assert number is not None
    if not 1 <= number <= count:
        raise UserError(f"number must be from 1 to the trace's {count} {what}, but got {number}")
    drawn = np.zeros(count, bool)
    drawn[np.random.default_rng(seed).permutation(count)[:number]] = True
    part = trace.take(np.flatnonzero(drawn[unit]))
    note = f"sample: {number:,} of {count:,} {what}, {len(part):,} of {len(trace):,} requests (seed {seed})"
    return noted(replace(part, arrival_s=part.arrival_s - part.arrival_s[0]), [trace], note + _hits(trace, part))


def units(trace: Trace) -> tuple[str, Ints]:
    """(what they are called, the number of each request's unit, from 0 without gaps)."""
    if trace.sessions:
        return "sessions", np.unique(trace.sessions.id, return_inverse=True)[1]
    if trace.blocks:
        return "prefix families", families(trace)
    return "requests", np.arange(len(trace))


def families(trace: Trace) -> Ints:
    """Each request's prefix family: those with the same first block among blocks that are not common.

    Ids are chained, so the requests below a block share nothing with those below its sister but common blocks (a
    system prompt), which every sample keeps. A request that has common blocks only is a family of its own.
    """
    blocks = trace.blocks
    assert blocks
    owner = np.repeat(np.arange(len(trace)), np.diff(blocks.start))
    _, which, uses = np.unique(blocks.ids, return_inverse=True, return_counts=True)
    rare = uses[which] <= max(1.0, COMMON * len(trace))
    key = -1 - np.arange(len(trace))  # of a request without a rare block
    rows, first = np.unique(owner[rare], return_index=True)
    key[rows] = which[rare][first]
    family: Ints = np.unique(key, return_inverse=True)[1]
    return family


def _hits(trace: Trace, part: Trace) -> str:
    before, after = infinite_cache_hits(trace), infinite_cache_hits(part)
    if not (before and after):
        return ""
    return f"; infinite-cache hit {before.token_ratio:.1%} of prompt tokens before, {after.token_ratio:.1%} after"
