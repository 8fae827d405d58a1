"""Lanes beside the chip, compiled for the engine: streams that a cache crosses, and attention that runs elsewhere."""

from dataclasses import dataclass

import numpy as np

from kvsim.cost import affine, cacheops
from kvsim.cost.op import Num
from kvsim.cost.rates import Rates
from kvsim.traits.layout import Layout
from kvsim.traits.trait import Decode

LONG = 1 << 20  # tokens of a long context


@dataclass(frozen=True)
class Stream:
    """A lane that a cache which rests elsewhere crosses: seconds a step, a byte fetched and a byte returned."""

    lane: str
    latency_s: float
    fetch_s_per_byte: float
    return_s_per_byte: float

    def seconds(self, steps: int, fetched: Num, returned: Num) -> Num:
        """Seconds of `steps` steps that together move these bytes."""
        return self.latency_s * steps + fetched * self.fetch_s_per_byte + returned * self.return_s_per_byte


def compiled_streams(layout: Layout, rates: Rates) -> tuple[Stream, ...]:
    """A stream's seconds on each lane from bytes fetched and returned."""
    ops = cacheops.link_ops(layout, 0.0, 0.0)
    found = []
    for lane in dict.fromkeys(op.lane for op in ops):
        build = lambda a, b, lane=lane: [op for op in cacheops.link_ops(layout, a, b) if op.lane == lane]  # noqa: E731
        latency, table = affine.probe(build, 2, rates)
        fetch, back = table.sum(axis=(0, 1)).tolist()
        found.append(Stream(lane, latency, fetch, back))
    return tuple(found)


def works_beside(layout: Layout) -> bool:
    """Whether a decode step's attention runs elsewhere, in part or whole."""
    nothing = Decode(*[0.0] * 6)
    return any(cacheops.beside_ops(layout, kind, nothing) for kind in layout.kinds)


def compiled_beside(layout: Layout, rates: Rates) -> list[affine.Kernels]:
    """Attention beside the chip by layer kind, from sequences and the kind's ledger rows.

    It runs one layer after the other, so that seconds add up over lanes and kinds.
    """
    if not works_beside(layout):
        return []
    found = []
    for k, kind in enumerate(layout.kinds):
        build = lambda n, *rows, k=k, kind=kind: cacheops.beside_ops(layout, kind, layout.sums(k, n, rows))  # noqa: E731
        latency, table = affine.probe(build, 1 + len(layout.measures), rates)
        found.append(affine.compiled(latency, [table]))
    return found


def slowest_beside(layout: Layout, rates: Rates) -> str:
    """The lane that attention beside the chip spends most of a long context on; nothing without one."""
    spent: dict[str, float] = {}
    for k, kind in enumerate(layout.kinds if works_beside(layout) else ()):
        rows: tuple[Num, ...] = tuple(layout.columns(LONG, np.array([LONG]))[k : layout.hbm_row : len(layout.kinds), 0])
        for op in cacheops.beside_ops(layout, kind, layout.sums(k, 1.0, rows)):
            spent[op.lane] = spent.get(op.lane, 0.0) + float(rates.seconds(op))
    return max(spent, key=lambda lane: spent[lane]) if spent else ""
