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
        piece_bytes: that a piece costs more of the link than it holds.
    """

    start_s: float
    link_share: float
    piece_s: float = 0.0
    piece_bytes: float = 0.0

    def seconds(self, link: Link, shape: Shape, hot: Floats | float = 0.0) -> Floats:
        """Seconds to copy `bytes` in `pieces`."""
        parts = self.parts(link, shape)
        carried: Floats = parts["latency"] + np.maximum(parts["host link"], parts["pieces"])
        return carried

    def parts(self, link: Link, shape: Shape, hot: Floats | float = 0.0) -> dict[str, Floats]:
        """The start, what the link carries, the pieces' pace."""
        size, pieces = np.asarray(shape["bytes"], np.float64), np.asarray(shape.get("pieces", 1.0), np.float64)
        carried = (size + pieces * self.piece_bytes) / (self.link_share * link.bandwidth)
        start = np.full_like(carried, self.start_s)
        return {"latency": start, "host link": carried, "pieces": (pieces - 1) * self.piece_s + 0 * carried}
