"""Seconds of steps by lane, priced from sums over the batch. What the engine calls; `step` shows the same by Op."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvsim.cost import affine, cacheops
from kvsim.cost.dense import head_ops, layer_ops
from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.op import D2H, H2D, Num, Op
from kvsim.cost.rates import EFFICIENCY, Rates
from kvsim.traits.layout import Layout
from kvsim.traits.placement import overlapped

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Stream:
    """A lane that a cache which rests elsewhere crosses: seconds a step, a byte fetched and a byte returned."""

    lane: str
    latency_s: float
    fetch_s_per_byte: float
    return_s_per_byte: float


class Pricer:
    """Prices steps of one layout on one machine.

    The ledger's rows are the layout's, but for layer kinds that price alike and linearly: those share one row, the
    sum of their tokens weighted by layers, so that 32 budgets cost no more than one.
    """

    def __init__(self, layout: Layout, rates: Rates, graph_sizes: Sequence[int] = ()) -> None:
        self.layout, self.rates = layout, rates
        self._layers_s: list[float] = []
        self._head_s: list[float] = []
        self._padded = [next(s for s in graph_sizes if s >= n) for n in range(max(graph_sizes, default=-1) + 1)]
        self._end: dict[int, float] = {}
        self._compile_decode()
        self._compile_chunks()
        self.works_at_end = self.prompt_end(1 << 20) > 0
        self.units = layout.policy.placement.units(layout.geo)
        self.token_bytes = layout.moved_token_bytes
        self._streams = self._compile_streams() if self.units else ()
        self._returns_all = layout.policy.placement.returns_everything()
        self._beside = self._compile_beside()

    # -- what does not touch the cache -------------------------------------------------------------------------------

    def dense(self, tokens: int, sequences: int) -> float:
        """GPU and peer-link seconds of all that does not touch the cache; batches pad to graph sizes."""
        rows = self._padded[tokens] if tokens < len(self._padded) else tokens
        if rows >= len(self._layers_s):
            self._tabulate(self._layers_s, layer_ops, rows)
        if sequences >= len(self._head_s):
            self._tabulate(self._head_s, head_ops, sequences)
        return self._layers_s[rows] + self._head_s[sequences]

    def _tabulate(self, table: list[float], build: Callable[[Geometry, Num], list[Op]], size: int) -> None:
        """Extend a table of `build`'s seconds beyond `size`, twice as far each time."""
        while size >= len(table):
            sizes = np.arange(len(table), 2 * max(len(table), 512))
            total: Num = np.zeros(len(sizes))
            for op in build(self.layout.geo, sizes):
                total = total + self.rates.seconds(op)
            table += np.asarray(total).tolist()

    def prompt_end(self, prompt: int) -> float:
        """GPU seconds of what the policy does when a prompt is complete."""
        found = self._end.get(prompt)
        if found is None:
            layout = self.layout
            kv_bytes = prompt * layout.geo.kv_heads * layout.head_token_bytes
            ops = [
                op
                for kind in layout.kinds
                for op in layout.policy.retention.end_ops(layout.geo, kind, prompt, kv_bytes)
            ]
            found = self._end[prompt] = float(sum(self.rates.seconds(op) for op in ops))
        return found

    # -- decode ------------------------------------------------------------------------------------------------------

    def _compile_decode(self) -> None:
        layout = self.layout
        both = [self._decode_tables(beside_chunk) for beside_chunk in (False, True)]
        kernels = [affine.compiled(latency, tables) for latency, tables in both]
        self._weights: Ints | None = None
        layers = [kind.layers for kind in layout.kinds]
        alike = all(
            np.allclose(table / many, tables[0] / layers[0], rtol=1e-12)
            for _, tables in both
            for table, many in zip(tables, layers, strict=True)
        )
        if len(layers) > 1 and layout.linear and alike and all(len(one.ops) == 1 for one in kernels):
            self._weights = np.array(layers, np.int64)
            kernels = []
            for latency, tables in both:
                per_layer = tables[0] / layers[0]
                per_layer[:, :, 0] *= sum(layers)  # the sequences' term counts once a layer, tokens come weighted
                kernels.append(affine.compiled(latency, [per_layer]))
        self._decode, self._beside_chunk = kernels
        self.kinds = 1 if self._weights is not None else len(layers)
        self.rows = layout.rows - len(layers) + self.kinds
        self.hbm_row = layout.hbm_row - len(layers) + self.kinds
        self.home_row = self.hbm_row + (layout.home_row - layout.hbm_row)
        self.link_row = self.hbm_row + 2

    def _decode_tables(self, beside_chunk: bool) -> tuple[float, list[NDArray[np.float64]]]:
        """(latency, coefficients of each layer kind) of decodes, alone or in a step that reads prompts too."""
        layout = self.layout
        probes = [
            affine.probe(
                lambda n, t, b, w, kind=kind: cacheops.decode_ops(layout, kind, n, t, b, w, beside_chunk), 4, self.rates
            )
            for kind in layout.kinds
        ]
        latency, tables = sum(probe[0] for probe in probes), [probe[1] for probe in probes]
        if layout.linear:  # bytes and dequantized elements follow from tokens
            fold = np.array([[1, 0], [0, 1], [0, layout.read_token_bytes], [0, layout.key_dim + layout.value_dim]])
            tables = [table @ fold for table in tables]
        return latency, tables

    def ledger_rows(self, prompt: int, steps: int) -> Ints:
        """The ledger's rows [rows, steps] of decode steps after a prompt."""
        rows = self.layout.demand(prompt, steps)
        if self._weights is None:
            return rows
        many = len(self._weights)
        return np.concatenate([(self._weights[:, None] * rows[:many]).sum(axis=0, keepdims=True), rows[many:]])

    def _decode_s(self, kernels: affine.Kernels, sequences: int, rows: Sequence[Num] | Ints) -> Num:
        kinds = self.kinds
        if kinds == 1:
            features = (sequences, rows[0]) if self.hbm_row == 1 else (sequences, *rows[: self.hbm_row])
            return kernels.seconds(features)
        parts = [rows[i * kinds : (i + 1) * kinds] for i in range(self.hbm_row // kinds)]
        by_kind = kernels.seconds([float(sequences), *parts])  # type: ignore[list-item]
        total: Num = np.add.accumulate(by_kind, axis=0)[-1]  # in the same order for one step as for many
        return total

    # -- prefill -----------------------------------------------------------------------------------------------------

    def _compile_chunks(self) -> None:
        layout, limit = self.layout, self.layout.policy.retention.prefill_limit()
        layers: dict[tuple[int | None, int], int] = {}
        for kind in layout.kinds:  # kinds that see the same past price alike: only their layers count
            seen = min((w for w in (kind.window, limit) if w is not None), default=None)
            key = (seen, sum(kind.heads))
            layers[key] = layers.get(key, 0) + kind.layers
        self._chunks = []
        for (seen, heads), count in layers.items():
            kind = LayerKind(count, (heads,), seen)
            build = lambda n, p, q, kind=kind: cacheops.chunk_ops(layout, kind, n, p, q)  # noqa: E731
            latency, table = affine.probe(build, 3, self.rates)
            self._chunks.append((seen, affine.compiled(latency, [table])))
        self._chunk_latency = sum(kernels.latency for _, kernels in self._chunks)

    def chunk(self, new: Num, past: Num) -> list[Num]:
        """A chunk's features: new tokens, past tokens, then (pairs, past attended to) by what a token may see."""
        features: list[Num] = [new, past]
        for seen, _ in self._chunks:
            features += cacheops.pairs(new, past, seen)
        return features

    def _chunk_s(self, features: Sequence[Num]) -> Num:
        first, *others = self._chunks
        total = first[1].seconds((features[0], features[2], features[3]))
        for i, (_, kernels) in enumerate(others, 1):
            total = total + kernels.seconds((features[0], features[2 + 2 * i], features[3 + 2 * i]))
        return total

    # -- lanes beside the chip ---------------------------------------------------------------------------------------

    def _compile_streams(self) -> tuple[Stream, ...]:
        """A stream's seconds on each lane from bytes fetched and returned."""
        ops = cacheops.link_ops(self.layout, 0.0, 0.0)
        found = []
        for lane in dict.fromkeys(op.lane for op in ops):
            build = lambda a, b, lane=lane: [op for op in cacheops.link_ops(self.layout, a, b) if op.lane == lane]  # noqa: E731
            latency, table = affine.probe(build, 2, self.rates)
            fetch, back = table.sum(axis=(0, 1)).tolist()
            found.append(Stream(lane, latency, fetch, back))
        return tuple(found)

    def _compile_beside(self) -> list[affine.Kernels]:
        """Attention on lanes beside the chip: one after the other, so that seconds add up over lanes and kinds."""
        layout, found = self.layout, []
        for kind in layout.kinds:
            if cacheops.beside_ops(layout, kind, 0.0, 0.0, 0.0):
                build = partial(cacheops.beside_ops, layout, kind)
                latency, table = affine.probe(build, 3, self.rates)
                found.append(affine.compiled(latency, [table]))
        return found

    def _beside_s(self, sequences: int, rows: Sequence[Num] | Ints) -> Num:
        kinds, layout = self.kinds, self.layout
        total: Num = 0.0
        for k, kernels in enumerate(self._beside):
            tokens: Num = rows[k]
            moved = tokens * layout.read_token_bytes if layout.linear else rows[kinds + k]
            total = total + (kernels.seconds((float(sequences), tokens, moved)) + kernels.latency)
        return total

    # -- steps -------------------------------------------------------------------------------------------------------

    def price(
        self, decodes: int, rows: Sequence[Num] | Ints, chunk: Sequence[Num] | None, chunks: int, end_s: float = 0.0
    ) -> tuple[Num, Num]:
        """(step with its overlap, GPU) seconds of steps that decode `decodes` sequences and read `chunks` prompts.

        Args:
            decodes: sequences that decode one token; `rows` are then their ledger rows [rows] or [rows, k].
            chunk: summed features of the prompts' chunks (`chunk`), numbers or arrays [k]; None for none.
            end_s: GPU seconds of what prompts that are complete with this step cost (`prompt_end`).
        """
        new: Any = chunk[0] if chunk else 0  # the same in each of several steps
        gpu: Num = self.dense(decodes + new, decodes + chunks) + end_s
        if decodes:
            kernels = self._beside_chunk if chunk else self._decode
            gpu = self._decode_s(kernels, decodes, rows) + (gpu + kernels.latency)
        if chunk:
            gpu = self._chunk_s(chunk) + (gpu + self._chunk_latency)
        if not self.units:
            return gpu, gpu
        fetched, returned = self._link(decodes, rows, chunk)
        lanes: list[Num] = [gpu]
        lanes += [s.latency_s + fetched * s.fetch_s_per_byte + returned * s.return_s_per_byte for s in self._streams]
        step = overlapped(lanes, self.units)
        return (self._beside_s(decodes, rows) + step if decodes and self._beside else step), gpu

    def _link(self, decodes: int, rows: Sequence[Num] | Ints, chunk: Sequence[Num] | None) -> tuple[Num, Num]:
        """Bytes (fetched from, returned to) the host in a step, or in each of several."""
        fetched: Num = rows[self.link_row] if decodes else 0
        returned = fetched if self._returns_all else decodes * self.token_bytes
        if chunk:
            fetched = fetched + chunk[1] * self.token_bytes
            returned = returned + chunk[0] * self.token_bytes
        return fetched, returned

    def link_bytes(self, decodes: int, rows: Any, chunk: Sequence[Num] | None, steps: int) -> tuple[int, int]:
        """The same, summed over the first `steps` steps."""
        both = self._link(decodes, rows, chunk)
        each = [moved[:steps].sum() if isinstance(moved, np.ndarray) else moved * steps for moved in both]
        return int(each[0]), int(each[1])

    def link_busy_s(self, fetched: int, returned: int, steps: int) -> tuple[float, float]:
        """Seconds that both directions of the host link were busy in `steps` steps."""
        busy = self.stream_busy_s(fetched, returned, steps)
        return busy.get(H2D, 0.0), busy.get(D2H, 0.0)

    def stream_busy_s(self, fetched: int, returned: int, steps: int) -> dict[str, float]:
        """Seconds that each lane of the stream was busy in `steps` steps."""
        return {
            one.lane: one.latency_s * steps + fetched * one.fetch_s_per_byte + returned * one.return_s_per_byte
            for one in self._streams
        }

    def swap_s(self, in_bytes: int, out_bytes: int) -> float:
        """Seconds to swap a chip's cache out and in over the host link; nothing overlaps them."""
        link = self.rates.host_link
        rate = EFFICIENCY["copy"][1] * link.bandwidth
        return sum(link.latency + moved / rate for moved in (in_bytes, out_bytes) if moved)
