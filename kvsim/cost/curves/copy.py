"""Seconds of a copy between host and chip: what starts it, what the link carries, and the pace of its pieces."""

from dataclasses import dataclass

import numpy as np

from kvsim.cost.curves import Floats, Shape
from kvsim.specs.hardware import Link


@dataclass(frozen=True)
class CopyCurve:
    """One kind of copy in one direction.

    Attributes:
        start_s: of a copy behind another, or (pageable) of the call.
        link_share: of the link's bandwidth.
        piece_s: of each piece beyond the first: a copy of its own, a row, or what a kernel gathers.
        cached_bytes: pageable bytes that the processor's caches hold, where a benchmark reuses its buffer; twice as
            many are read from DRAM.
        uncached_share: of the link's bandwidth from there.
        stage_bytes: pageable bytes that nothing overlaps: a first buffer is filled before it is emptied.
        stage_share: of the link's bandwidth at which they do.
        single_bytes: a copy up to which one engine carries alone; a longer one is shared out and never sooner through.
        single_share: of the link's bandwidth that one engine reaches.
        posted: whether the start passes while the link still drains the copy before: writes of a kernel do not wait.
        in_turn: whether a piece starts when the one before has ended: a copy engine runs its copies one by one.
    """

    start_s: float
    link_share: float
    piece_s: float = 0.0
    cached_bytes: float = 0.0
    uncached_share: float = 1.0
    stage_bytes: float = 0.0
    stage_share: float = 1.0
    single_bytes: float = 0.0
    single_share: float = 1.0
    posted: bool = False
    in_turn: bool = False

    def seconds(self, link: Link, shape: Shape, hot: Floats | float = 0.0) -> Floats:
        """Seconds to copy `bytes` in `pieces`."""
        parts = self.parts(link, shape)
        both = parts["host link"], parts["pieces"]
        carried: Floats = both[0] + both[1] if self.in_turn else np.maximum(*both)
        return np.maximum(parts["latency"], carried) if self.posted else parts["latency"] + carried

    def parts(self, link: Link, shape: Shape, hot: Floats | float = 0.0) -> dict[str, Floats]:
        """The start, what the link carries, the pieces' pace."""
        size, pieces = np.asarray(shape["bytes"], np.float64), np.asarray(shape.get("pieces", 1.0), np.float64)
        carried = size / (self.link_share * link.bandwidth)
        if self.single_bytes:
            alone = np.minimum(size, self.single_bytes) / (min(self.single_share, self.link_share) * link.bandwidth)
            carried = np.maximum(carried, alone)
        if self.cached_bytes:
            missed = np.clip(size / self.cached_bytes - 1, 0, 1)
            slower = np.maximum(1 / self.uncached_share - 1 / self.link_share, 0)
            carried = carried + missed * size * slower / link.bandwidth
        if self.stage_bytes:
            carried = carried + np.minimum(size, self.stage_bytes) / (self.stage_share * link.bandwidth)
        start = np.full_like(carried, self.start_s)
        return {"latency": start, "host link": carried, "pieces": (pieces - 1) * self.piece_s + 0 * carried}
