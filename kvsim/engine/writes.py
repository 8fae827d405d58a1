"""What is written to the tiers below HBM, and when: filled blocks (through), hot ones (selective), lost ones (back)."""

from collections.abc import Iterable, Sequence
from functools import partial

from kvsim.engine.copies import Copies, Piece
from kvsim.engine.levels import Levels, Tally, blocks_of
from kvsim.engine.prefix import Run


class Writes:
    """A tier passes what has arrived to the next; what it loses before that waits in a buffer, as all from HBM does.

    Attributes:
        victims: runs that HBM gave up since the last `flush`, with what it had; `watches`: whether to note them.
        buffered_bytes: on their way from HBM or the buffer.
    """

    def __init__(self, levels: Levels, buffer_bytes: float, hbm_bytes: int) -> None:
        self._all, self._levels, self._tallies = levels, levels.levels, levels.tallies
        self._buffer_bytes, self._hbm_bytes = buffer_bytes, hbm_bytes
        self._selective = any(level.spec.writes == "selective" for level in levels.levels)
        self._uses: dict[int, tuple[int, int]] = {}  # run -> (requests, the last of them), since HBM has it
        self.watches = self._selective or levels.levels[0].spec.writes == "back"
        self.victims: dict[int, int] = {}
        self.buffered_bytes = 0

    def filled(self, request: int, runs: Sequence[Run]) -> None:
        """HBM has these blocks of a request."""
        if self._selective:
            for name, _ in runs:
                many, last = self._uses.get(name, (0, -1))
                self._uses[name] = (many + (last != request), request)
        for number, level in enumerate(self._levels):
            if level.spec.writes == "selective":
                hot = [run for run in runs if self._uses[run[0]][0] > 1]
                above = self._levels[number - 1].copies if number else None
                ready = [run for run in hot if above is None or above.readable(run[0]) >= run[1]]
                self._write(number, ready, request)
            elif level.spec.writes == "through" and not number:
                self._write(number, runs, request)

    def note(self, name: int, blocks: int) -> None:
        """HBM gives up a run, of which it had so many blocks."""
        self.victims[name] = max(blocks, self.victims.get(name, 0))

    def flush(self) -> None:
        """Write what HBM has given up, if its copies are written back; what it lacks counts no uses."""
        if not self.victims:
            return
        victims, self.victims = self.victims, {}
        for name in victims:
            self._uses.pop(name, None)
        if self._levels[0].spec.writes == "back":
            self._write(0, victims.items(), lost=True)

    def set_aside(self, number: int, pieces: Sequence[Piece]) -> list[Piece]:
        """The pieces that a level has room for, pinned there; what goes for them may be written to the next level."""
        copies = self._levels[number].copies
        taken = copies.set_aside(pieces)
        if copies.victims:
            victims, copies.victims = copies.victims, {}
            self._write(number + 1, victims.items(), lost=True)
        return taken

    def _write(self, number: int, runs: Iterable[Run], request: int = -1, lost: bool = False) -> None:
        """Copy what a level lacks of runs from the one above; from the buffer if they are `lost` there.

        `request`: that filled them, if it is known.
        """
        copies, tally = self._levels[number].copies, self._tallies[number]
        above = self._levels[number - 1].copies if number and not lost else None
        # what HBM fills stays there until it is written; what it or another tier loses needs the buffer
        room = (self._buffer_bytes if lost else self._hbm_bytes) - self.buffered_bytes
        pieces = copies.lacking(runs)
        if not above and blocks_of(pieces) * self._all.block_bytes > room:
            pieces = self._within(pieces, room, tally)
        if not pieces:
            return
        if above:
            above.pin([name for name, _, _ in pieces])
        taken = self.set_aside(number, pieces)
        if len(taken) < len(pieces):
            lacking = set(pieces).difference(taken)
            tally.dropped += blocks_of(lacking)
            if above:
                above.unpin([name for name, _, _ in lacking])
        if taken:
            buffered = 0 if above else blocks_of(taken) * self._all.block_bytes
            self.buffered_bytes += buffered
            self._all.send(
                self._levels[number].into, taken, partial(self._written, number, taken, request, above, buffered)
            )

    def _within(self, pieces: list[Piece], room: float, tally: Tally) -> list[Piece]:
        """The pieces for which a buffer has room; the others are dropped."""
        kept = []
        for piece in pieces:
            needs = blocks_of((piece,)) * self._all.block_bytes
            if needs > room:
                tally.dropped += blocks_of((piece,))
            else:
                room -= needs
                kept.append(piece)
        return kept

    def _written(self, number: int, pieces: list[Piece], request: int, above: Copies | None, buffered: int) -> None:
        copies = self._levels[number].copies
        self.buffered_bytes -= buffered
        self._tallies[number].written += blocks_of(pieces)
        if request >= 0:
            self._all.turn(request)
        names = [name for name, _, _ in reversed(pieces)]
        for name, _, blocks in pieces:
            copies.arrive(name, blocks)
        copies.unpin(names)
        if above:
            above.unpin(names)
        if number + 1 < len(self._levels) and self._levels[number + 1].spec.writes == "through":
            self._write(number + 1, [(name, blocks) for name, _, blocks in pieces], request)
