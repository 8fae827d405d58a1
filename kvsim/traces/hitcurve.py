"""Hit ratio against capacity: a trace's prompts through a prefix cache of so many blocks, without a clock.

Requests come one after the other, in order of arrival, and only prompts are cached:

1. A prompt hits its leading blocks that are cached, up to the first that is not.
2. All its blocks become cached and count as used now, its tail before its head. Cached blocks behind a missing one are
   computed again, but count as used.
3. The order of eviction gives blocks up until the capacity is kept. So a cache lies beside the prompts that run; one
   prompt may fill all of it, and may be given up at once.

Under these rules nothing hits more blocks than Belady's algorithm: any policy keeps, from a block's use to its next, at
most `capacity` blocks at a time, and giving up what is needed furthest in the future keeps most (the largest subset of
intervals of which no point is in more than `capacity`). A prefix is used no later than what follows it, so what Belady
keeps is whole prefixes, and all of it hits. Tokens follow blocks but for the last block of a prompt, which may be
partly filled: a policy can gain tokens, not blocks, by giving up such a block for a full one.

A run of blocks that was given up in part comes back as one. This is exact for `lru` and `belady`; others rank the
part that was kept and the part that came back alike.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kvsim import find
from kvsim.errors import UserError
from kvsim.traces.pieces import Pieces, pieces
from kvsim.traces.stats import infinite_cache_hits
from kvsim.traces.trace import Ints, Trace
from kvsim.traits.eviction import Eviction, Future, Order, eviction

CAPACITY_MOST = 10**12
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class HitCurve:
    """`token_ratios[name][i]`: share of prompt tokens that hit in a cache of `capacity_blocks[i]` blocks."""

    capacity_blocks: list[int]
    token_ratios: dict[str, list[float]]
    infinite: float
    left_out: list[str]  # policies that this trace does not allow, and why


def hit_curve(
    trace: Trace, capacities: Sequence[int], names: Sequence[str] | None = None, progress: Progress | None = None
) -> HitCurve:
    """The curve of each order of eviction in `names`, by default all; `progress(done, of)` counts requests.

    Raises:
        UserError: no block ids; an unknown name; one that needs sessions which the trace does not have.
    """
    whole = infinite_cache_hits(trace)
    if trace.blocks is None or whole is None:
        raise UserError(f"{trace.name}: has no block ids, so no prefix is known to be shared")
    chosen = {name: eviction(name) for name in names or find.paper_names("prefix")}
    left_out = []
    if trace.sessions is None:
        lacking = [name for name, kind in chosen.items() if kind.needs_sessions]
        if lacking and names:
            raise UserError(f"{trace.name}: eviction {lacking[0]!r} needs sessions, which this trace does not have")
        left_out = [f"{chosen.pop(name).title.lower()} ({name}): the trace has no sessions" for name in lacking]
    cut = pieces(trace.blocks)
    sessions = None if trace.sessions is None else trace.sessions.id.tolist()
    rounds, total = len(chosen) * len(capacities), int(trace.prompt_tokens.sum())
    ratios: dict[str, list[float]] = {name: [] for name in chosen}
    for name, kind in chosen.items():
        for capacity in capacities:
            done = sum(map(len, ratios.values())) * len(trace)
            report = None if progress is None else lambda n, done=done: progress(done + n, rounds * len(trace))
            found = leading_hits(cut, kind, capacity, sessions, report)
            ratios[name].append(int(np.minimum(found * trace.blocks.tokens, trace.prompt_tokens).sum()) / total)
    return HitCurve(list(capacities), ratios, whole.token_ratio, left_out)


def leading_hits(
    cut: Pieces,
    kind: Eviction,
    capacity: int,
    sessions: list[int] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Ints:
    """Blocks that each request hits in a cache of `capacity` blocks."""
    future = Future(cut, {}) if kind.knows_future else None
    hits, _ = _replay(cut, kind.order(capacity, future), capacity, future, sessions, progress)
    return hits


def discarded(cut: Pieces, capacity: int) -> NDArray[np.bool_]:
    """Per use: whether Belady's algorithm gives up most of the piece, or all, before its next use."""
    future = Future(cut, {})
    _, found = _replay(cut, eviction("belady").order(capacity, future), capacity, future)
    kept = np.append(found, 0)[cut.next_use()]
    lost: NDArray[np.bool_] = 2 * kept < cut.blocks[cut.names]
    return lost


def _replay(
    cut: Pieces,
    order: Order,
    capacity: int,
    future: Future | None,
    sessions: list[int] | None = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[Ints, Ints]:
    """(blocks hit per request, blocks found cached per use)."""
    names, start, size = cut.names.tolist(), cut.start.tolist(), cut.blocks.tolist()
    idle, hold, free = order.idle, order.hold, order.free
    hits, found = [0] * (len(start) - 1), [0] * len(names)
    cached = 0
    for request in range(len(hits)):
        first, last = start[request], start[request + 1]
        order.turn(request if sessions is None else sessions[request], request)
        leading, whole = 0, True
        for at in range(first, last):
            name = names[at]
            if name in idle:
                found[at] = blocks = hold(name)
                cached -= blocks
                if whole:
                    leading += blocks
                    whole = blocks == size[name]
            else:
                whole = False
        hits[request] = leading
        used = names[first:last]
        if future is not None:
            future.at.update(zip(used, range(first, last), strict=True))
        for name in reversed(used):
            blocks = size[name]
            free(name, blocks)
            cached += blocks
        if cached > capacity:
            order.evict(cached - capacity)
            cached = capacity
        if progress is not None and not request % 256:
            progress(request)
    return np.array(hits, np.int64), np.array(found, np.int64)
