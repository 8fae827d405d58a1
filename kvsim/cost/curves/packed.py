"""Seconds of KIVI's decode attention (kernels_ref/kivi_decode.py): one warp a program, pages of 128 tokens in turn.

Codes become operands in registers, so that neither HBM nor the tensor cores bind where warps are few: a page takes a
warp several latencies, and twelve warps live on an SM. How many pages a program takes is the kernel's own arithmetic;
a test holds the two against each other.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from kvsim.cost.curves import Floats, Shape, bodies, figures, partial_bytes
from kvsim.specs.hardware import Chip

PAGE = 128  # tokens that are packed at once
START_PAGES = 1  # what the kernel's choice charges a program
WARPS, FEW_WARPS = 12, 8  # on an SM: 168 registers a thread, 255 for more than 8 query heads of a kv head


@dataclass(frozen=True)
class PackedDecodeCurve:
    """One query token a sequence over packed pages.

    Attributes:
        launch_s: the kernel's ramp and drain, and the merge's.
        page_s: of one page in a warp, by latency.
        memory_share: of HBM bandwidth.
        exposed: share of the shorter of pages in turn and HBM traffic that the longer does not hide.
        split_s: of each split of a row in the merge.
    """

    launch_s: float
    page_s: float
    memory_share: float
    exposed: float
    split_s: float

    def seconds(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> Floats:
        """Seconds of one layer. Shape: batch, context, heads, kv_heads, head_dim, bits."""
        latency, serial, memory = self._work(chip, shape)
        return latency + bodies([serial, memory], self.exposed)

    def parts(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> dict[str, Floats]:
        """Latency, pages in turn, HBM bandwidth."""
        return dict(zip(("latency", "pages in turn", "HBM bandwidth"), self._work(chip, shape), strict=True))

    def _work(self, chip: Chip, shape: Shape) -> tuple[Floats, Floats, Floats]:
        batch, context, heads, kv_heads, dim, bits = figures(
            shape, "batch", "context", "heads", "kv_heads", "head_dim", "bits"
        )
        rows, pages, bytes_per_s = batch * kv_heads, np.ceil(context / PAGE), self.memory_share * chip.memory.bandwidth
        slots = slots_of(chip, heads / kv_heads)
        each = chosen(rows, pages, slots)
        parts = np.ceil(pages / each)
        merged = partial_bytes(batch, heads, dim, parts + 1) / bytes_per_s  # one more part for the youngest tokens
        memory = packed_bytes(batch * context * kv_heads * dim, bits) / bytes_per_s
        latency = self.launch_s + self.split_s * parts + merged
        return latency, np.ceil(rows * parts / slots) * each * self.page_s, memory


def slots_of(chip: Chip, group: Any) -> Any:
    """Programs that live on a chip, for `group` query heads of a kv head."""
    return chip.multiprocessors * np.where(group > 8, FEW_WARPS, WARPS)


def packed_bytes(elements: Floats, bits: Floats) -> Floats:
    """Bytes of so many keys and as many values: codes, and 32 bits of scale and minimum for each group of 32."""
    found: Floats = 2 * elements * (bits + 1) / 8
    return found


def chosen(rows: Floats, pages: Floats, slots: Floats) -> Floats:
    """Pages of a program, as `kernels_ref.kivi_decode.choose`: what makes rounds of `slots` programs end soonest."""
    shape = np.broadcast_shapes(np.shape(rows), np.shape(pages), np.shape(slots))
    cases = np.stack([np.ravel(np.broadcast_to(value, shape)) for value in (rows, pages, slots)], axis=1)
    unlike, which = np.unique(cases, axis=0, return_inverse=True)
    found = np.ones(len(unlike))
    for at, (count, long, places) in enumerate(unlike):  # contexts differ by orders of magnitude: no common table
        tried = np.arange(1.0, max(long, 1) + 1)
        cost = np.ceil(count * np.ceil(long / tried) / places) * (tried + START_PAGES)
        found[at] = tried[int(np.argmin(cost))]
    taken: Floats = found[np.ravel(which)].reshape(shape)
    return taken
