"""Lengths that a source has cut at a limit: many rows at the longest, few just below."""

from collections.abc import Iterator

import numpy as np

from kvsim.traces.trace import Ints, Trace

_NEAR = 0.001  # of the longest: rows so close to it count as at it (Azure's limit moves by a token or two)
_WINDOWS = 20  # as wide, below it: what the rows near the longest are held against
_TIMES = 5  # as many rows as in one of those windows look clipped
_FEWEST = 10
_SHARE = 5e-4
_DISTINCT = 20  # fewer lengths than that are fixed lengths


def notes(trace: Trace) -> Iterator[str]:
    """A line for prompts and one for outputs, where they look clipped."""
    for what, tokens in (("prompts", trace.prompt_tokens), ("outputs", trace.output_tokens)):
        rows, width = clipped(tokens)
        if rows:
            most = int(tokens.max())
            near = f"{most:,} tokens, the most" + (f", or up to {width - 1} fewer" if width > 1 else "")
            yield f"{what} look clipped: {rows:,} of {len(tokens):,} have {near}"


def clipped(tokens: Ints) -> tuple[int, int]:
    """(rows at the longest or nearer to it than `width` tokens, width); 0 rows where that is no spike."""
    most = int(tokens.max())
    width = max(1, int(most * _NEAR))
    below = most - tokens[tokens > most - (_WINDOWS + 1) * width]
    rows = int(np.count_nonzero(below < width))
    usual = (len(below) - rows) / _WINDOWS
    if rows < max(_FEWEST, _SHARE * len(tokens)) or rows <= _TIMES * usual:
        return 0, width
    if len(np.unique(tokens[:100_000])) < _DISTINCT:
        return 0, width
    return rows, width
