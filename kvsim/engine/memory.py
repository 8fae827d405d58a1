"""A replica chip's pools: what its sequences hold in HBM and in the cache's home tier, and the prefix cache."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np

from kvsim.engine.capacity import Capacity
from kvsim.engine.ledger import Ints, Ledger
from kvsim.engine.prefix import PrefixCache, Run
from kvsim.engine.radix import RadixCache
from kvsim.engine.sequence import Sequence
from kvsim.errors import UserError
from kvsim.traces.trace import Blocks
from kvsim.traits.layout import Layout
from kvsim.traits.placement import HBM

if TYPE_CHECKING:
    from kvsim.engine.tiers import Tiers


class Rows(Protocol):
    """Where the ledger keeps the bytes of each tier."""

    hbm_row: int
    home_row: int


class Memory:
    """Bytes in use: decoding sequences by the ledger, prefilling ones by what they allocated, shared blocks once.

    A cache at home in HBM has one pool, and both figures of a pair are then the same.
    """

    def __init__(
        self,
        layout: Layout,
        capacity: Capacity,
        ledger: Ledger,
        rows: Rows,
        caching: Callable[[int], PrefixCache | RadixCache] | None,
        blocks: Blocks | None,
    ) -> None:
        self.layout, self.ledger = layout, ledger
        self.hbm_row, self.home_row = rows.hbm_row, rows.home_row
        self.block_bytes, self.block_tokens = layout.block_bytes, layout.block_tokens
        self.capacity = (capacity.pool_bytes[HBM], capacity.pool_bytes[layout.policy.placement.home])
        self.swap_room = 0  # bytes that preempted sequences may yet take elsewhere
        self.cache = caching(self.capacity[1] // self.block_bytes) if caching else None
        self._blocks = blocks if caching else None
        if self._blocks and self._blocks.tokens % self.block_tokens:
            raise UserError(
                f"the trace hashes blocks of {self._blocks.tokens} tokens, which block_tokens={self.block_tokens} does "
                "not divide; set one that does, or prefix_caching=false"
            )
        self.hbm = self.home = 0  # of prefilling sequences
        self.peak = (0, 0)
        self.late_hbm = self.late_home = 0  # freed by the last step; an asynchronous plan cannot use it yet
        self._hbm = self._home = 0  # of decoding sequences, at the step last looked at
        self._apart = layout.offloaded
        self._shared_blocks = 0  # held through the prefix cache, counted for each sequence
        self.tiers: Tiers | None = None  # of the prefix cache below HBM

    # -- what is in use ----------------------------------------------------------------------------------------------

    def look(self, step: int) -> list[int]:
        """Read the ledger at a decode step: what `used` goes by until the next look. Returns the step's rows."""
        column = self.ledger.at(step)
        self._hbm, self._home = column[self.hbm_row], column[self.home_row]
        return column

    def credit(self) -> int:
        """Bytes that are counted more than once because sequences share blocks."""
        return (self._shared_blocks - self.cache.held_blocks) * self.block_bytes if self.cache else 0

    def used(self) -> tuple[int, int]:
        """(HBM, home) bytes in use at the step last looked at."""
        credit = self.credit() if self._shared_blocks else 0
        home = self._home + self.home - credit
        return (self._hbm + self.hbm, home) if self._apart else (home, home)

    def fits(self, hbm: int = 0, home: int = 0, spare: float = 0.0) -> bool:
        """Whether `hbm` and `home` bytes more fit, with a share `spare` of the home pool left over."""
        used_hbm, used_home = self.used()
        hbm_room, home_room = self.capacity
        if spare:
            home_room = int(home_room * (1 - spare))
        return used_home + home + self.late_home <= home_room and used_hbm + hbm + self.late_hbm <= hbm_room

    def steps_that_fit(self, step: int, steps: int, sequences: int, chunked: Sequence | None) -> int:
        """Of `steps` decode steps from `step` on, and a chunk of `chunked` in each, how many fit; at least 1."""
        blocks = sequences * (steps // self.block_tokens + 2)
        if chunked:
            blocks += chunked.chunk * steps // self.block_tokens + 2
        if self.fits(blocks * self.block_bytes, blocks * self.block_bytes):
            return steps  # even if each sequence took whole blocks
        credit = self.credit()
        hbm_room = self.capacity[0] - self.hbm + (0 if self.layout.offloaded else credit)
        rooms = ((self.hbm_row, hbm_room), (self.home_row, self.capacity[1] - self.home + credit))
        tokens = chunked.computed + chunked.chunk * np.arange(1, steps + 1) if chunked else None
        for tier, (row, room) in enumerate(rooms[: 2 if self.layout.offloaded else 1]):
            taken: Ints | int = self.ledger.span(step, steps)[row] if sequences else 0
            if chunked and tokens is not None:
                grown = self.layout.allocated_while_prefilling(tokens)[tier] - (chunked.home if tier else chunked.hbm)
                taken = taken + np.maximum(grown, 0)
            if np.max(taken) > room:
                steps = max(1, int(np.argmax(np.asarray(taken)[:steps] > room)) or 1)
                tokens = tokens[:steps] if tokens is not None else None
        return steps

    # -- a sequence's way --------------------------------------------------------------------------------------------

    def hits(self, seq: Sequence) -> list[Run]:
        """Leading blocks of its tokens that are cached; at least one token is left to compute."""
        if not self.cache:
            return []
        self.settle()  # what runs allocates first, and may evict
        return self.cache.lookup(self.runs(seq))

    def runs(self, seq: Sequence) -> list[Run]:
        """Blocks of a sequence that could be found: all but that of the last token to compute."""
        if seq.runs is None or seq.runs[0] != seq.tokens:
            seq.runs = (seq.tokens, self._runs(seq, seq.tokens - 1))
        return seq.runs[1]

    def admit(self, seq: Sequence, hits: list[Run], now: tuple[int, int], whole: tuple[int, int], spare: float) -> bool:
        """Allocate `now` (HBM, home) bytes for a sequence if `whole` would fit, its hits taken."""
        if not self.has_room(hits, whole, spare):
            return False
        cache, named = self.cache, sum(blocks for _, blocks in hits)
        if cache:
            cache.acquire(hits)
            seq.held, seq.shared = dict(hits), named
            self._shared_blocks += named
        self._hold(seq, *now)
        return True

    def has_room(self, hits: list[Run], whole: tuple[int, int], spare: float) -> bool:
        """Whether `whole` (HBM, home) bytes of a sequence fit, its hits taken."""
        hbm, home = whole
        cache, named = self.cache, sum(blocks for _, blocks in hits)
        copies = (named - cache.revived(hits)) * self.block_bytes if cache else 0
        return self.fits(hbm if self.layout.offloaded else hbm - copies, home - copies, spare)

    def promoted(self, seq: Sequence) -> None:
        """A sequence's first `computed` tokens have come from a lower tier: others may hit them."""
        assert self.cache
        self.cache.register([run for run in self._runs(seq, seq.computed) if run[0] >= 0], seq.held)
        self._share(seq)

    def prefilled(self, tokens: int) -> tuple[int, int]:
        """(HBM, home) bytes of `tokens` prompt tokens that were just read."""
        hbm, home = self.layout.allocated_while_prefilling(tokens).tolist()
        return hbm, home

    def largest(self, prompt: int, tokens: int) -> tuple[int, int]:
        """(HBM, home) bytes of a sequence at its largest, between the end of its prompt and `tokens` tokens."""
        hbm, home = self.layout.largest_allocated(np.array([prompt]), np.array([tokens]))
        return int(hbm[0]), int(home[0])

    def grow(self, seq: Sequence, tokens: int) -> bool:
        """Allocate up to a prefilling sequence's first `tokens` tokens, if they fit."""
        hbm, home = self.prefilled(tokens)
        if not self.fits(max(0, hbm - seq.hbm), max(0, home - seq.home)):
            return False
        self._hold(seq, max(hbm, seq.hbm), max(home, seq.home))
        return True

    def hold_through(self, seq: Sequence) -> None:
        """Allocate what a span of chunks has computed; `steps_that_fit` said that it fits."""
        hbm, home = self.prefilled(seq.computed)
        self._hold(seq, max(hbm, seq.hbm), max(home, seq.home))

    def end_prefill(self, seq: Sequence) -> None:
        """Hand a sequence over to the ledger, its blocks named so that others may hit them."""
        self._hold(seq, 0, 0)
        if self.cache and self._blocks:
            runs = [run for run in self._runs(seq, seq.tokens) if run[0] >= 0]
            self.cache.register(runs, seq.held)
            self._share(seq)
            if self.tiers:
                self.tiers.writes.filled(seq.index, runs)
                seq.filled = max(0, len(runs) - 1)  # its last run may yet grow

    def release(self, seq: Sequence, tokens: int, home: int, ended: bool = False) -> None:
        """Free a sequence whose `tokens` tokens fill `home` bytes; full blocks keep their hashes."""
        self._hold(seq, 0, 0)
        cache = self.cache
        if not cache:
            return
        blocks = home // self.block_bytes
        if ended and not seq.held and not self._blocks and not cache.idle_blocks:
            cache.blank += blocks  # nobody will hit them, and nothing idle is older than they are
            return
        runs = self._runs(seq, tokens)
        cache.register(runs, seq.held)
        if self.tiers:
            self.tiers.writes.filled(seq.index, runs[seq.filled :])
        cache.release(seq.held, _own_id(seq), blocks - sum(seq.held.values()))
        seq.held = {}
        self._share(seq)

    def delay(self, seq: Sequence, hbm: int, home: int) -> None:
        """What a sequence is about to free stays in use for one plan more; blocks it shares may, so they are not."""
        shared = seq.shared * self.block_bytes
        self.late_hbm += hbm - (0 if self.layout.offloaded else shared)
        self.late_home += home - shared

    def settle(self) -> None:
        """Let the prefix cache evict what allocation took up to the step last looked at."""
        if self.cache:
            self.cache.settle((self.capacity[1] - self.used()[1]) // self.block_bytes)

    def close(self) -> None:
        """The step last looked at was run: note the peaks, and settle."""
        hbm, home = self.used()
        if hbm > self.peak[0] or home > self.peak[1]:
            self.peak = (max(hbm, self.peak[0]), max(home, self.peak[1]))
        if self.cache and self.cache.idle_blocks:  # else there is nothing to evict
            self.cache.settle((self.capacity[1] - home) // self.block_bytes)

    def _hold(self, seq: Sequence, hbm: int, home: int) -> None:
        self.hbm += hbm - seq.hbm
        self.home += home - seq.home
        seq.hbm, seq.home = hbm, home

    def _share(self, seq: Sequence) -> None:
        held = sum(seq.held.values())
        self._shared_blocks += held - seq.shared
        seq.shared = held

    def _runs(self, seq: Sequence, tokens: int) -> list[Run]:
        """A sequence's first `tokens` tokens as runs of full blocks: the trace's ids, then its own."""
        left, runs = tokens // self.block_tokens, []
        if self._blocks:
            named = self._named(seq, self._blocks) if seq.named is None else seq.named
            for run in named:
                if run[1] >= left:
                    break
                runs.append(run)
                left -= run[1]
            if left and len(runs) < len(named):
                runs.append((named[len(runs)][0], left))
                return runs
        if left:
            runs.append((_own_id(seq), left))
        return runs

    def _named(self, seq: Sequence, blocks: Blocks) -> list[Run]:
        """Runs of full blocks that the trace names: of its prompt, or as far as the ids cover its output too."""
        at, per_id = seq.index, blocks.tokens // self.block_tokens
        left = (seq.prompt if blocks.covers is None else int(blocks.covers[at])) // self.block_tokens
        part = slice(blocks.start[at], blocks.start[at + 1])
        ids = blocks.ids[part].tolist()
        counts = [1] * len(ids) if blocks.counts is None else blocks.counts[part].tolist()
        seq.named = []
        for name, count in zip(ids, counts, strict=True):
            taken = min(count * per_id, left)
            if not taken:
                break
            seq.named.append((name, taken))
            left -= taken
        return seq.named


def _own_id(seq: Sequence) -> int:
    """The id of blocks that no id of the trace names; those are never negative."""
    return -seq.index - 1
