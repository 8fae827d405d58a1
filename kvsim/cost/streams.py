"""Lanes beside the chip, compiled for the engine: streams that a cache crosses, and attention that runs elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kvsim.cost import affine, cacheops
from kvsim.cost.op import Num, Op
from kvsim.cost.rates import Rates
from kvsim.traits.layout import Ints, Layout
from kvsim.traits.trait import Decode

LONG = 1 << 20  # tokens of a long context


@dataclass(frozen=True)
class Stream:
    """A lane that a cache which rests elsewhere crosses: seconds a step, a byte fetched and a byte returned.

    Attributes:
        carries: bytes on this lane of a step, a byte fetched and a byte returned.
    """

    lane: str
    latency_s: float
    fetch_s_per_byte: float
    return_s_per_byte: float
    carries: tuple[float, float, float] = (0.0, 1.0, 1.0)

    def carried(self, steps: int, fetched: int, returned: int) -> int:
        """Bytes on this lane of `steps` steps that together move these."""
        each, share, back = self.carries
        return round(each * steps + share * fetched + back * returned)

    def seconds(self, steps: int, fetched: Num, returned: Num) -> Num:
        """Seconds of `steps` steps that together move these bytes."""
        return self.latency_s * steps + fetched * self.fetch_s_per_byte + returned * self.return_s_per_byte


def compiled_streams(layout: Layout, rates: Rates) -> tuple[Stream, ...]:
    """A stream's seconds on each lane from bytes fetched and returned."""
    ops = cacheops.link_ops(layout, 0.0, 0.0)
    found = []
    for lane in dict.fromkeys(op.lane for op in ops):

        def build(fetched: Num, returned: Num, lane: str = lane) -> list[Op]:
            return [op for op in cacheops.link_ops(layout, fetched, returned) if op.lane == lane]

        latency, table = affine.probe(build, 2, rates)
        fetch, back = table.sum(axis=(0, 1)).tolist()
        each = _bytes(build(0.0, 0.0))
        shares = [(_bytes(build(*moved)) - each) / LONG for moved in ((float(LONG), 0.0), (0.0, float(LONG)))]
        found.append(Stream(lane, latency, fetch, back, (each, shares[0], shares[1])))
    return tuple(found)


def _bytes(ops: Sequence[Op]) -> float:
    return float(sum(op.count * op.bytes for op in ops))


def crowded(streams: Sequence[Stream], times: float) -> list[Stream]:
    """The same with fetches that take so many times longer on the lane that sets their pace."""
    slowest = max(streams, key=lambda stream: stream.fetch_s_per_byte)
    return [
        replace(stream, fetch_s_per_byte=stream.fetch_s_per_byte * times) if stream is slowest else stream
        for stream in streams
    ]


def works_beside(layout: Layout) -> bool:
    """Whether a decode step's attention runs elsewhere, in part or whole."""
    nothing = Decode(*[0.0] * 6)
    return any(cacheops.beside_ops(layout, kind, nothing) for kind in layout.kinds)


@dataclass(frozen=True)
class Beside:
    """A decode step's attention that runs elsewhere, one layer after the other: seconds add up over lanes and kinds.

    Attributes:
        lane: that takes most of a long context. kernels: of each layer kind, from sequences and the kind's ledger rows,
            which are every `kinds`-th of the ledger's first `rows`.
    """

    lane: str
    kernels: tuple[affine.Kernels, ...]
    rows: int
    kinds: int

    def seconds(self, sequences: int, ledger: Sequence[Num] | Ints) -> Num:
        """Seconds that the chip waits in a step, or in each of several."""
        total: Num = 0.0
        for k, kernels in enumerate(self.kernels):
            features = (float(sequences), *ledger[k : self.rows : self.kinds])
            total = total + (kernels.seconds(features) + kernels.latency)
        return total

    def sums(self, sequences: int, ledger: Any, steps: int) -> list[int]:
        """[decode steps, sequences, figures of each layer kind], summed over the first `steps` steps."""
        used = ledger[: self.rows]
        sums = [int(row[:steps].sum()) if isinstance(row, np.ndarray) else int(row) * steps for row in used]
        return [steps, sequences * steps, *sums]

    def busy_s(self, sums: Sequence[int]) -> float:
        """Seconds that the chip waited, from such sums."""
        steps, sequences, *rows = sums
        latencies = sum(kernels.latency for kernels in self.kernels)
        return float(self.seconds(sequences, [float(row) for row in rows])) + (steps - 1) * latencies


def compiled_beside(layout: Layout, rates: Rates, rows: int, kinds: int) -> Beside | None:
    """Attention beside the chip, if there is any."""
    if not works_beside(layout):
        return None
    found = []
    for k, kind in enumerate(layout.kinds):
        build = lambda n, *rows, k=k, kind=kind: cacheops.beside_ops(layout, kind, layout.sums(k, n, rows))  # noqa: E731
        latency, table = affine.probe(build, 1 + len(layout.measures), rates)
        found.append(affine.compiled(latency, [table]))
    return Beside(_slowest(layout, rates), tuple(found), rows, kinds)


def _slowest(layout: Layout, rates: Rates) -> str:
    """The lane that attention beside the chip spends most of a long context on."""
    spent: dict[str, float] = {}
    for k, kind in enumerate(layout.kinds):
        rows: tuple[Num, ...] = tuple(layout.columns(LONG, np.array([LONG]))[k : layout.hbm_row : len(layout.kinds), 0])
        for op in cacheops.beside_ops(layout, kind, layout.sums(k, 1.0, rows)):
            spent[op.lane] = spent.get(op.lane, 0.0) + float(rates.seconds(op))
    return max(spent, key=lambda lane: spent[lane])
