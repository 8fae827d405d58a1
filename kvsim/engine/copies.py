"""The copies of cache blocks in one tier below HBM, counted by run as `kvsim.engine.prefix` does."""

from collections.abc import Callable, Iterable, Sequence

from kvsim.engine.prefix import Run
from kvsim.traits.eviction import Order

Piece = tuple[int, int, int]  # (run, blocks that are there, blocks wanted): the transfer of their difference


class Copies:
    """Of each run so many leading blocks. A run is idle, and may be given up, or pinned by transfers of it.

    Attributes:
        blank: blocks that hold nothing. arrived, given_up: blocks that ever came, and went.
        victims: run -> blocks that it had, of those given up since somebody last looked, if `remember`.
    """

    def __init__(self, blocks: int, order: Order, remember: bool, turn: Callable[[int], None] | None = None) -> None:
        """`turn`: tells an order that goes by requests or sessions which request comes next."""
        self.blocks = self.blank = blocks
        self.arrived = self.given_up = self.peak = 0
        self.victims: dict[int, int] = {}
        self._order, self._idle = order, order.idle
        self.turn = turn or _ignored
        self._idle_blocks = 0
        self._pinned: dict[int, list[int]] = {}  # run -> [transfers, blocks set aside, blocks that can be read]
        if remember:
            order.on_evict = self._note

    @property
    def pinned(self) -> int:
        """Runs that transfers use."""
        return len(self._pinned)

    def __len__(self) -> int:
        return len(self._idle) + len(self._pinned)

    def _note(self, name: int, blocks: int) -> None:
        self.victims[name] = max(blocks, self.victims.get(name, 0))

    def readable(self, name: int) -> int:
        """Leading blocks of a run that have arrived."""
        pinned = self._pinned.get(name)
        return pinned[2] if pinned else self._idle.get(name, 0)

    def expected(self, name: int) -> int:
        """The same with those on their way."""
        pinned = self._pinned.get(name)
        return pinned[1] if pinned else self._idle.get(name, 0)

    def lacking(self, runs: Iterable[Run]) -> list[Piece]:
        """What is neither here nor on its way, of these runs."""
        pinned, idle, pieces = self._pinned, self._idle, []
        for name, blocks in runs:
            entry = pinned.get(name)
            have = entry[1] if entry else idle.get(name, 0)
            if have < blocks:
                pieces.append((name, have, blocks))
        return pieces

    def touch(self, names: Iterable[int]) -> None:
        """Runs are used: none of them is the next to go, the last of them the one that stays longest."""
        idle, order = self._idle, self._order
        for name in names:
            if name in idle:
                order.free(name, order.hold(name))

    def pin(self, names: Iterable[int]) -> None:
        """Transfers of these runs begin: they cannot be given up."""
        all_pinned, idle, order = self._pinned, self._idle, self._order
        for name in names:
            pinned = all_pinned.get(name)
            if pinned:
                pinned[0] += 1
            else:
                found = order.hold(name) if name in idle else 0
                self._idle_blocks -= found
                all_pinned[name] = [1, found, found]

    def unpin(self, names: Iterable[int]) -> None:
        """Transfers have ended; what was set aside and never came is blank again once all of a run's have."""
        all_pinned, order = self._pinned, self._order
        for name in names:
            pinned = all_pinned[name]
            pinned[0] -= 1
            if not pinned[0]:
                _, aside, ready = all_pinned.pop(name)
                self.blank += aside - ready
                if ready:
                    order.free(name, ready)
                    self._idle_blocks += ready

    def set_aside(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Room for pieces, whose runs are pinned: those that have it, others given up for it where it must be."""
        all_pinned = self._pinned
        self.pin([piece[0] for piece in pieces])
        taken = []
        for piece in pieces:
            name, _, want = piece
            pinned = all_pinned[name]
            missing = want - pinned[1] - self.blank
            if missing > self._idle_blocks:
                self.unpin((name,))
                continue
            if missing > 0:
                self._order.evict(missing)
                self._idle_blocks -= missing
                self.given_up += missing
                self.blank += missing
            self.blank -= want - pinned[1]
            pinned[1] = want
            taken.append(piece)
        self.peak = max(self.peak, self.blocks - self.blank)
        return taken

    def arrive(self, name: int, blocks: int) -> None:
        """A pinned run's first `blocks` blocks can be read from now on."""
        pinned = self._pinned[name]
        if blocks > pinned[2]:
            self.arrived += blocks - pinned[2]
            pinned[2] = blocks

    def verify(self) -> str:
        """What is wrong, or nothing: every block is blank, idle or pinned, and what came and did not go is here."""
        pinned = sum(entry[1] for entry in self._pinned.values())
        here = sum(self._idle.values()) + sum(entry[2] for entry in self._pinned.values())
        if not 0 <= self.blank <= self.blocks or self._idle_blocks != sum(self._idle.values()):
            return f"{self.blank} blocks are blank and {self._idle_blocks} idle, of {self.blocks}"
        if self.blank + self._idle_blocks + pinned != self.blocks:
            return f"{self.blank} blank, {self._idle_blocks} idle and {pinned} pinned blocks are not {self.blocks}"
        if any(not 0 <= entry[2] <= entry[1] for entry in self._pinned.values()):
            return "more of a run can be read than was set aside"
        if self.arrived - self.given_up != here:
            return f"{self.arrived} blocks came, {self.given_up} went, but {here} are here"
        return ""


def _ignored(request: int) -> None:
    """Most orders do not go by requests."""
