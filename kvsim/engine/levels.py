"""The tiers below HBM as one replica sees them, and the transfers between them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from kvsim.engine.copies import Copies, Piece
from kvsim.engine.flows import Flow, Network
from kvsim.engine.roads import Road
from kvsim.engine.tierspec import TierSpec


@dataclass(frozen=True)
class Level:
    """One tier.

    Attributes:
        into: the road to it from HBM, if it is the first, or from the tier before it.
        out: the road from it to HBM, if it is the first, or to the first.
    """

    spec: TierSpec
    copies: Copies
    into: Road
    out: Road


@dataclass
class Tally:
    """Of one tier, by one replica, in blocks but for counts and seconds.

    Attributes:
        hits: blocks that requests did not compute, because they were found here.
        read: blocks whose transfer towards HBM has ended; of the first tier, all of them promoted to HBM.
        written, dropped: blocks copied to it, and those that found no room here or in the buffer.
        loads, slower: how often requests waited for it, and when computing would have been faster.
        stalled_s, computing_s: seconds of both. recomputed: how often computing was foretold to be faster, and done.
    """

    hits: int = 0
    read: int = 0
    written: int = 0
    dropped: int = 0
    loads: int = 0
    slower: int = 0
    stalled_s: float = 0.0
    computing_s: float = 0.0
    recomputed: int = 0


class Levels:
    """The tiers of one replica, the one next to HBM first. Their copies may be those of other replicas too.

    Attributes:
        lanes: [bytes, busy seconds] by lane, of one chip's share of what has arrived.
        on_transfer: told each that has ended: its road, when it began, and its bytes.
    """

    def __init__(self, levels: Sequence[Level], network: Network, block_bytes: int) -> None:
        self.levels, self.network, self.block_bytes = levels, network, block_bytes
        self.tallies = [Tally() for _ in levels]
        self.lanes: dict[str, list[float]] = {}
        self.on_transfer: Callable[[Road, float, int], None] | None = None

    def turn(self, request: int) -> None:
        """What follows is for this request: some orders of eviction go by it."""
        for level in self.levels:
            level.copies.turn(request)

    def send(self, road: Road, pieces: Sequence[Piece], on_end: Callable[[], None]) -> Flow:
        """Copy pieces along a road; `on_end` is called when all of them have arrived."""
        bytes_, begun_s = blocks_of(pieces) * self.block_bytes, self.network.clock.now

        def end() -> None:
            if self.on_transfer:
                self.on_transfer(road, begun_s, bytes_)
            for lane, busy_s in road.lanes:
                entry = self.lanes.setdefault(lane, [0, 0.0])
                entry[0] += bytes_
                entry[1] += bytes_ * busy_s
            on_end()

        return self.network.start(road.way, bytes_, end, road.latency_s)

    def seconds(self, road: Road, blocks: int) -> float:
        """How long a transfer that starts now would take, as things are."""
        return road.latency_s + self.network.seconds(road.way, blocks * self.block_bytes)


def blocks_of(pieces: Iterable[Piece]) -> int:
    """Blocks that pieces transfer."""
    return sum([want - have for _, have, want in pieces])
