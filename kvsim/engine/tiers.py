"""A replica's prefix cache below HBM: what is read from its tiers, and when.

HBM exchanges blocks with the first tier; each tier passes what it writes to the one behind it. What a request needs
from further down is copied to the first tier while it waits (a prefetch), and from there to HBM when it is its turn.
A copy can be read once it has arrived, and HBM has a block once all of its transfer has.
"""

from collections.abc import Callable
from collections.abc import Sequence as List
from dataclasses import dataclass, field
from functools import partial

from kvsim.engine.clock import ARRIVAL
from kvsim.engine.copies import Piece
from kvsim.engine.flows import Flow
from kvsim.engine.levels import Levels, blocks_of
from kvsim.engine.prefix import Run
from kvsim.engine.sequence import Sequence
from kvsim.engine.serving import Serving
from kvsim.engine.writes import Writes


@dataclass(eq=False)
class Prefetch:
    """Pieces on their way from a level to the first, and who left the queue until they are there."""

    level: int
    pieces: list[Piece]
    flow: Flow | None = None
    waiters: list["Visit"] = field(default_factory=list)


@dataclass(eq=False)
class Visit:
    """One request: its prefetches, and the level where each of its runs was found."""

    seq: Sequence
    since_s: float
    prefetches: list[Prefetch] = field(default_factory=list)
    found: dict[int, int] = field(default_factory=dict)
    left_s: float | None = None  # when it left the queue
    waits_for: int = 0
    away: bool = False  # while it loads


class Tiers:
    """All tiers of one replica."""

    def __init__(
        self, levels: Levels, serving: Serving, hbm_bytes: int, recompute_s: Callable[[int, int, int], float]
    ) -> None:
        """`hbm_bytes`: of the pool above. `recompute_s`: of tokens, behind others, before those that are new."""
        self.all, self.levels, self.tallies = levels, levels.levels, levels.tallies
        self.serving, self.network, self.block_bytes = serving, levels.network, levels.block_bytes
        self.writes = Writes(levels, serving.write_buffer_bytes, hbm_bytes)
        self.on_ready: Callable[[Sequence], None] = _nobody  # told each request that may be planned again
        self._recompute_s, self._first = recompute_s, self.levels[0].copies
        self.coming: dict[int, Prefetch] = {}  # by run

    def arrive(self, seq: Sequence, runs: List[Run]) -> None:
        """A request joins the queue: what the first tier has of its runs is touched, the rest prefetched."""
        visit, first, here = Visit(seq, self.network.clock.now), self._first, []
        seq.visit = visit
        wanted: dict[int, list[Piece]] = {}
        past = 0
        for name, blocks in runs:
            readable = first.readable(name)
            if readable:
                here.append(name)
            if readable < blocks and (coming := self.coming.get(name)):
                visit.found[name] = coming.level
                if coming not in visit.prefetches:
                    visit.prefetches.append(coming)
            elif first.expected(name) < blocks:
                level, most = self._nearest(name, blocks)
                if most > readable:
                    wanted.setdefault(level, []).append((name, readable, min(most, blocks)))
                if most < blocks:
                    break
            past += blocks if not wanted else 0
        self.all.turn(seq.index)
        first.touch(reversed(here))
        for level, pieces in wanted.items():
            self._prefetch(visit, level, pieces, past)

    def _nearest(self, name: int, blocks: int) -> tuple[int, int]:
        """The nearest level behind the first with `blocks` blocks of a run, or the one with most: (level, blocks)."""
        nearest, most = 0, 0
        for number, level in enumerate(self.levels[1:], 1):
            found = level.copies.readable(name)
            if found > most:
                nearest, most = number, found
            if found >= blocks:
                break
        return nearest, most

    def _prefetch(self, visit: Visit, number: int, pieces: list[Piece], past: int) -> None:
        """Begin to copy pieces to the first tier, behind `past` blocks that are there."""
        level = self.levels[number]
        road, blocks = level.out, blocks_of(pieces)
        if self.serving.fetch == "auto" and self.all.seconds(road, blocks) > self._computing_s(
            blocks, past, visit.seq.tokens
        ):
            self.tallies[number].recomputed += 1
            return
        level.copies.pin([name for name, _, _ in pieces])  # before others are given up
        taken = self.writes.set_aside(0, pieces)
        prefetch = Prefetch(number, taken)
        for name, _, _ in taken:
            self.coming[name] = prefetch
            visit.found[name] = number
        level.copies.unpin([name for name, _, _ in set(pieces).difference(taken)])
        if taken:
            visit.prefetches.append(prefetch)
            prefetch.flow = self.all.send(road, taken, partial(self._prefetched, prefetch, visit.seq.index))

    def _prefetched(self, prefetch: Prefetch, request: int) -> None:
        self.all.turn(request)
        self._arrived(prefetch, blocks_of(prefetch.pieces))
        names = [name for name, _, _ in reversed(prefetch.pieces)]
        for name in names:
            del self.coming[name]
        self._first.unpin(names)
        self.levels[prefetch.level].copies.unpin(names)
        for visit in prefetch.waiters:
            visit.waits_for -= 1
            if not visit.waits_for:
                self.on_ready(visit.seq)

    def _arrived(self, prefetch: Prefetch, blocks: int) -> None:
        """The first `blocks` blocks of a prefetch can be read."""
        for name, have, want in prefetch.pieces:
            came = min(blocks, want - have)
            self.tallies[prefetch.level].read += max(0, have + came - self._first.readable(name))
            self._first.arrive(name, have + came)
            blocks -= came

    def fetch(self, seq: Sequence, runs: List[Run], hits: List[Run]) -> list[Piece] | None:
        """What the head of the queue should load from the first tier beyond its `hits` in HBM.

        None: it should leave the queue until `on_ready`, because more is on its way.
        """
        visit = seq.visit
        assert visit is not None
        pieces, pending = self._beyond(visit, runs, dict(hits), coming=True)
        past = sum(blocks for _, blocks in hits)
        if pending and self._waits(visit, pieces, pending, past):
            return None
        if pending:
            for prefetch in pending:
                if prefetch.flow:
                    self._arrived(prefetch, int((self.network.moved(prefetch.flow) + 0.5) // self.block_bytes))
            pieces, _ = self._beyond(visit, runs, dict(hits), coming=False)
        if pieces and self.serving.fetch == "auto":
            blocks = blocks_of(pieces)
            if self.all.seconds(self.levels[0].out, blocks) > self._computing_s(blocks, past, seq.tokens):
                self.tallies[visit.found.get(pieces[0][0], 0)].recomputed += 1
                return []
        return pieces

    def _beyond(
        self, visit: Visit, runs: List[Run], have: dict[int, int], coming: bool
    ) -> tuple[list[Piece], list[Prefetch]]:
        """Leading pieces that HBM lacks and the first tier has, or will have by prefetches of this visit."""
        pieces, pending = [], []
        for name, blocks in runs:
            held = have.get(name, 0)
            if held >= blocks:
                continue
            found = self._first.readable(name)
            prefetch = self.coming.get(name)
            if coming and found < blocks and prefetch in visit.prefetches:
                assert prefetch is not None
                found = self._first.expected(name)
                if prefetch not in pending:
                    pending.append(prefetch)
            if found > held:
                pieces.append((name, held, min(found, blocks)))
            if found < blocks:
                break
        return pieces, pending

    def _waits(self, visit: Visit, pieces: list[Piece], pending: list[Prefetch], past: int) -> bool:
        """Whether a request leaves the queue until its prefetches are here; arranges for its return."""
        serving, clock = self.serving, self.network.clock
        if serving.prefetch == "best_effort":
            return False
        deadline_s = visit.since_s + serving.prefetch_timeout_s
        if serving.prefetch == "timeout" and clock.now >= deadline_s:
            return False
        if serving.fetch == "auto":
            blocks = blocks_of(pieces)
            coming_s = max(self.network.seconds_left(prefetch.flow) for prefetch in pending if prefetch.flow)
            if coming_s + self.all.seconds(self.levels[0].out, blocks) > self._computing_s(
                blocks, past, visit.seq.tokens
            ):
                return False
        visit.waits_for = len(pending)
        for prefetch in pending:
            prefetch.waiters.append(visit)
        if serving.prefetch == "timeout":
            clock.at(deadline_s, ARRIVAL, lambda call: self._give_up(visit))
        visit.left_s = clock.now
        return True

    def _give_up(self, visit: Visit) -> None:
        """The timeout is over."""
        if visit.waits_for:
            visit.waits_for = 0
            for prefetch in visit.prefetches:
                if visit in prefetch.waiters:
                    prefetch.waiters.remove(visit)
            self.on_ready(visit.seq)

    def load(self, seq: Sequence, pieces: list[Piece], past: int) -> bool:
        """Copy pieces from the first tier to HBM, behind `past` blocks.

        True if that took no time; `on_ready` follows otherwise.
        """
        visit = seq.visit
        assert visit is not None
        if visit.left_s is None:
            visit.left_s = self.network.clock.now
        self._first.pin([name for name, _, _ in pieces])
        flow = self.all.send(self.levels[0].out, pieces, partial(self._loaded, visit, pieces, past))
        visit.away = not flow.done
        return flow.done

    def _loaded(self, visit: Visit, pieces: list[Piece], past: int) -> None:
        farthest, left_s = 0, visit.left_s
        assert left_s is not None
        self.all.turn(visit.seq.index)
        self._first.unpin([name for name, _, _ in reversed(pieces)])
        for name, have, want in pieces:
            level = visit.found.get(name, 0)
            farthest = max(farthest, level)
            self.tallies[level].hits += (want - have) * visit.seq.first_plan
            self.tallies[0].read += want - have
        tally, stalled_s = self.tallies[farthest], self.network.clock.now - left_s
        computing_s = self._computing_s(blocks_of(pieces), past, visit.seq.tokens)
        tally.loads += 1
        tally.slower += stalled_s > computing_s
        tally.stalled_s += stalled_s
        tally.computing_s += computing_s
        visit.left_s = None
        if visit.away:
            visit.away = False
            self.on_ready(visit.seq)

    def worth(self, number: int, blocks: int) -> bool:
        """Whether a prefix of so many blocks comes from a level, alone on its way, before it would be computed."""
        roads = {0, number}
        took = sum(
            self.levels[at].out.latency_s + blocks * self.block_bytes * self.levels[at].out.alone_s_per_byte
            for at in roads
        )
        return took < self._computing_s(blocks, 0)

    def _computing_s(self, blocks: int, past: int, whole: int = 0) -> float:
        """Of so many blocks behind `past`, in a prompt of `whole` tokens."""
        tokens, before = blocks * self.serving.block_tokens, past * self.serving.block_tokens
        return self._recompute_s(tokens, before, max(1, whole - tokens - before))


def _nobody(seq: Sequence) -> None:
    """Waits for nothing."""
