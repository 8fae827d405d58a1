"""A trace to a file of another tool that reads back to the same requests, or not at all."""

from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from kvsim.errors import UserError, unknown
from kvsim.traces import layouts
from kvsim.traces.blocks import one_by_one
from kvsim.traces.columns import ticks
from kvsim.traces.read import read_trace
from kvsim.traces.trace import Blocks, Ints, Trace
from kvsim.traces.write import check_name, write_trace

PARTS = {"blocks": "block ids", "sessions": "sessions", "measured": "measured latencies"}
_UNITS = {1: "s", 1_000: "ms", 1_000_000: "us", 10_000_000: "100 ns", 1_000_000_000: "ns"}


def convert(
    trace: Trace, path: str | Path, layout: str, *, rounded: bool = False, without: Collection[str] = ()
) -> Trace:
    """Write `trace` in a layout, read the file back, and put it in place only if it holds the same requests.

    Args:
        rounded: round arrivals to the layout's clock first; else arrivals between its ticks are refused.
        without: parts of the trace to leave out: "blocks", "sessions", "measured".

    Returns:
        The trace that the file holds: `trace`, less what `rounded` and `without` took.

    Raises:
        UserError: the layout has no place for something that the trace has, or the file would read back differently.
    """
    for part in without:
        if part not in PARTS:
            raise unknown("part", part, PARTS, "without")
    check_name(Path(path), layout)
    kept = replace(trace, **dict.fromkeys(without))  # type: ignore[arg-type]
    if layout == "kvsim":
        write_trace(kept, path)
        return kept
    kept = _fitted(kept, layout, rounded, str(path))

    def check(file: Path) -> None:
        try:
            columns = getattr(layouts.named(layout), "COLUMNS", None)
            again = read_trace(file, format=layout, columns=columns)
        except UserError as error:
            what = str(error).replace(str(file), str(path))
            raise UserError(f"{path}: the {layout} format cannot hold this trace; reading it back: {what}") from None
        for what in differences(kept, again):
            raise UserError(f"{path}: the {layout} format cannot hold this trace: {what} would read back differently")

    write_trace(kept, path, layout, check)
    return kept


def _fitted(trace: Trace, layout: str, rounded: bool, path: str) -> Trace:
    """The trace, if the layout has a place for all of it."""
    module = layouts.named(layout)
    for part, what in PARTS.items():
        if getattr(trace, part) is not None and part not in module.HOLDS:
            raise UserError(f"{path}: the {layout} format has no place for {what}: `--without {part}` leaves them out")
        if getattr(trace, part) is None and part in getattr(module, "NEEDS", ()):
            raise UserError(f"{path}: the {layout} format needs {what}, which this trace has not")
    if not module.UNITS_PER_S:
        return trace
    unit = _UNITS[module.UNITS_PER_S]
    if trace.arrival_s[-1] * module.UNITS_PER_S > 2**62:
        raise UserError(f"{path}: the last request arrives too late for a clock of {unit}")
    whole_s = ticks(trace, module.UNITS_PER_S) / module.UNITS_PER_S
    if np.array_equal(whole_s, trace.arrival_s):
        return trace
    if not rounded:
        raise UserError(
            f"{path}: the {layout} format's clock ticks every {unit}, arrivals lie between: `--round` rounds"
        )
    note = f"arrivals are rounded to {unit}"
    return replace(trace, arrival_s=whole_s, notes=(*trace.notes, note))


def differences(one: Trace, other: Trace) -> Iterator[str]:
    """What two traces do not have in common, but for names, notes, and the numbers that ids and sessions go by."""
    for name in ("arrival_s", "prompt_tokens", "output_tokens"):
        if not np.array_equal(getattr(one, name), getattr(other, name)):
            yield name
            return
    if not _same_blocks(one.blocks, other.blocks):
        yield "blocks"
    if (one.sessions is None) != (other.sessions is None):
        yield "sessions"
    if one.sessions and other.sessions:
        for name in ("parents", "start", "gap_s"):
            mine, theirs = getattr(one.sessions, name), getattr(other.sessions, name)
            if (mine is None) != (theirs is None) or (mine is not None and not np.array_equal(mine, theirs)):
                yield f"sessions' {name}"
        if one.sessions.timed != other.sessions.timed or not _same_names(one.sessions.id, other.sessions.id):
            yield "sessions"
    if (one.measured is None) != (other.measured is None):
        yield "measured latencies"
    if one.measured and other.measured:
        for name in ("ttft_s", "e2e_s"):
            if not np.array_equal(getattr(one.measured, name), getattr(other.measured, name), equal_nan=True):
                yield f"measured {name}"


def _same_blocks(one: Blocks | None, other: Blocks | None) -> bool:
    if one is None or other is None:
        return one is other
    one, other = one_by_one(one), one_by_one(other)
    return one.tokens == other.tokens and np.array_equal(one.start, other.start) and _same_names(one.ids, other.ids)


def _same_names(one: Ints, other: Ints) -> bool:
    """Whether two columns are equal but for other numbers."""
    return np.array_equal(_by_appearance(one), _by_appearance(other))


def _by_appearance(ids: Ints) -> Ints:
    _, first, which = np.unique(ids, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    numbered: Ints = rank[which]
    return numbered
