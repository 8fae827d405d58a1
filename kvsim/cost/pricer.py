"""Seconds of steps by lane, priced from sums over the batch. What the engine calls; `step` shows the same by Op."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvsim.cost import affine, cacheops
from kvsim.cost.dense import body_ops, edge_ops, head_ops, layer_ops, passing
from kvsim.cost.ends import PromptEnds
from kvsim.cost.executed import executed
from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.launching import Launching
from kvsim.cost.op import D2H, H2D, Num, Op
from kvsim.cost.overheads import NONE, Overheads
from kvsim.cost.rates import EFFICIENCY, Rates
from kvsim.cost.streams import compiled_beside, compiled_streams, crowded, works_beside
from kvsim.traits.layout import Layout
from kvsim.traits.placement import overlapped, slowed
from kvsim.traits.trait import Chunk

Ints = NDArray[np.int64]


MANY_KINDS = 4  # of layers, from which on arrays are quicker than one after the other


class Pricer:
    """Prices steps of one layout on one machine.

    The ledger's rows are the layout's, but for layer kinds that price alike and linearly: those share one row, the
    sum of their tokens weighted by layers, so that 32 budgets cost no more than one.
    """

    def __init__(self, layout: Layout, rates: Rates, overheads: Overheads = NONE) -> None:
        self.layout, self.rates, self.overheads = layout, rates, overheads
        self._layers_s: list[float] = []
        self._head_s: list[float] = []
        captured = range(overheads.largest_graph + 1)
        self._padded = [[overheads.padded(n, prompts) for n in captured] for prompts in (False, True)]
        self._passes = layout.passes
        self._pass_weights = np.array([layers / layout.geo.model.layers for layers, _ in self._passes])
        self._pass_shares = np.array([share for _, share in self._passes])
        self._bodies: NDArray[np.float64] = np.zeros(0)
        self._body_s: list[float] = []
        self._edge_s: list[float] = []
        copied = (rates.host_link.latency, EFFICIENCY["copy"][1] * rates.host_link.bandwidth)
        self.swap_ways = (copied, copied)  # (latency, bytes/s) in and out
        self._compile_decode()
        self._compile_chunks()
        self.launching = Launching(layout, overheads)
        ends = PromptEnds(layout, rates)
        self.works_at_end, self.prompt_end = ends.any, ends.seconds
        self.units = layout.policy.placement.units(layout.geo)
        self.token_bytes, self.past_bytes = layout.moved_token_bytes, layout.past_token_bytes
        self.streams = compiled_streams(layout, rates) if self.units else ()
        self._returns_all = layout.policy.placement.returns_everything()
        self.beside = compiled_beside(layout, rates, self.hbm_row, self.kinds)
        self.executed = executed(layout, rates, overheads)

    # -- what does not touch the cache -------------------------------------------------------------------------------

    def dense(self, tokens: int, sequences: int, prompts: bool = False) -> float:
        """GPU and peer-link seconds of all that does not touch the cache; batches pad to graph sizes."""
        padded = self._padded[prompts]
        rows = padded[tokens] if tokens < len(padded) else tokens
        if rows >= len(self._layers_s):
            self._tabulate(self._layers_s, layer_ops, rows)
        if sequences >= len(self._head_s):
            self._tabulate(self._head_s, head_ops, sequences)
        return self._layers_s[rows] + self._head_s[sequences]

    def _tabulate(self, table: list[float], build: Callable[[Geometry, Num, Overheads], list[Op]], size: int) -> None:
        """Extend a table of `build`'s seconds beyond `size`, twice as far each time."""
        while size >= len(table):
            sizes = np.arange(len(table), 2 * max(len(table), 512))
            total: Num = np.zeros(len(sizes))
            for op in build(self.layout.geo, sizes, self.overheads):
                total = total + self.rates.seconds(op)
            table += np.asarray(total).tolist()

    def _parted(self, decodes: int, new: int, sequences: int) -> float:
        """The same where only a part of a chunk's tokens pass through some layers."""
        most = decodes + max(new, int(passing(new, max(self._pass_shares))))
        if most >= len(self._body_s):
            self._tabulate(self._body_s, body_ops, most)
            self._tabulate(self._edge_s, edge_ops, most)
            self._bodies = np.array([0.0, *self._body_s[1:]])  # nothing where no token passes
        if sequences >= len(self._head_s):
            self._tabulate(self._head_s, head_ops, sequences)
        total = self._edge_s[decodes + new] + self._head_s[sequences]
        if len(self._passes) >= MANY_KINDS:
            tokens = decodes + np.ceil(new * self._pass_shares).astype(np.int64)
            return total + float(self._bodies[tokens] @ self._pass_weights)
        for layers, share in self._passes:
            tokens = decodes + int(passing(new, share))
            total += self._body_s[tokens] * (layers / self.layout.geo.model.layers) if tokens else 0.0
        return total

    # -- decode ------------------------------------------------------------------------------------------------------

    def _compile_decode(self) -> None:
        layout = self.layout
        both = [self._decode_tables(beside_chunk) for beside_chunk in (False, True)]
        kernels = [affine.compiled(latency, tables) for latency, tables in both]
        self._weights: Ints | None = None
        layers = [kind.layers for kind in layout.kinds]
        alike = all(
            np.allclose(table / many, tables[0] / layers[0], rtol=1e-12, atol=0.0)
            for _, tables in both
            for table, many in zip(tables, layers, strict=True)
        )
        if len(layers) > 1 and alike and not works_beside(layout) and all(len(one.ops) == 1 for one in kernels):
            self._weights = np.array(layers, np.int64)
            kernels = []
            for latency, tables in both:
                per_layer = tables[0] / layers[0]
                per_layer[:, :, 0] *= sum(layers)  # the sequences' term counts once a layer, tokens come weighted
                kernels.append(affine.compiled(latency, [per_layer]))
        self._decode, self._beside_chunk = kernels
        self.kinds = 1 if self._weights is not None else len(layers)
        self.hbm_row = layout.hbm_row // len(layers) * self.kinds
        self.rows = layout.rows - layout.hbm_row + self.hbm_row
        self.home_row = self.hbm_row + (layout.home_row - layout.hbm_row)
        self.link_row = self.hbm_row + 2

    def _decode_tables(self, beside_chunk: bool) -> tuple[float, list[NDArray[np.float64]]]:
        """(latency, coefficients of each layer kind) of decodes, alone or in a step that reads prompts too."""
        layout, many = self.layout, 1 + len(self.layout.measures)
        probes = [
            affine.probe(
                lambda n, *rows, k=k, kind=kind: cacheops.decode_ops(
                    layout, kind, layout.sums(k, n, rows), beside_chunk
                ),
                many,
                self.rates,
            )
            for k, kind in enumerate(layout.kinds)
        ]
        latency, tables = sum(probe[0] for probe in probes), [probe[1] for probe in probes]
        ops = max(len(table) for table in tables)  # layers may have Ops that others lack
        return latency, [affine.widened(table, ops, max(t.shape[1] for t in tables)) for table in tables]

    def ledger_rows(self, prompt: int, steps: int) -> Ints:
        """The ledger's rows [rows, steps] of decode steps after a prompt."""
        rows = self.layout.demand(prompt, steps)
        if self._weights is None:
            return rows
        split = self.layout.hbm_row
        by_kind = rows[:split].reshape(-1, len(self._weights), rows.shape[1])
        return np.concatenate([self._weights @ by_kind, rows[split:]])

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
        layout, policy = self.layout, self.layout.policy
        found: list[tuple[int | None, int, float, NDArray[np.float64]]] = []  # what a token may see, layers, kernels
        for kind in layout.kinds:
            for seen, part in layout.reading(kind):
                build = lambda n, p, q, part=part: self._chunk_ops(part, Chunk(n, p, q))  # noqa: E731
                latency, table = affine.probe(build, 3, self.rates)
                affine.merge(found, seen, part.layers, latency, table)
        extra = affine.probe(lambda n, p, q: policy.prefill.reading_ops(layout.geo, Chunk(n, p, q)), 3, self.rates)
        if len(extra[1]):
            found.append((None, 1, *extra))
        self._chunks = _together(found)
        self._chunk_latency = sum(kernels.latency for _, kernels in self._chunks)

    def _chunk_ops(self, part: LayerKind, chunk: Chunk) -> list[Op]:
        ops = cacheops.chunk_ops(self.layout, part, chunk)
        if self.overheads.joins_past:
            ops.append(cacheops.joined_past(self.layout, part, chunk.past))
        return ops

    def chunk(self, new: Num, past: Num) -> list[Num]:
        """A chunk's features: new tokens, past tokens, then (pairs, past attended to) by what a token may see."""
        features: list[Num] = [new, past]
        for seen, _ in self._chunks:
            features += cacheops.pairs(new, past, seen)
        return features

    def _chunk_s(self, features: Sequence[Num]) -> Num:
        first, *others = self._chunks
        total = _summed(first[1].seconds((features[0], features[2], features[3])), features[1])
        for i, (_, kernels) in enumerate(others, 1):
            more = kernels.seconds((features[0], features[2 + 2 * i], features[3 + 2 * i]))
            total = total + _summed(more, features[1])
        return total

    # -- steps -------------------------------------------------------------------------------------------------------

    def price(
        self,
        decodes: int,
        rows: Sequence[Num] | Ints,
        chunk: Sequence[Num] | None,
        chunks: int,
        end_s: float = 0.0,
        slow: float = 1.0,
    ) -> tuple[Num, Num]:
        """(step with its overlap, GPU) seconds of steps that decode `decodes` sequences and read `chunks` prompts.

        Args:
            decodes: sequences that decode one token; `rows` are then their ledger rows [rows] or [rows, k].
            chunk: summed features of the prompts' chunks (`chunk`), numbers or arrays [k]; None for none.
            end_s: GPU seconds of what prompts that are complete with this step cost (`prompt_end`).
            slow: how much longer a byte of the cache takes to be fetched than on a way of one's own.
        """
        new: Any = chunk[0] if chunk else 0  # the same in each of several steps
        if self._passes and chunk:
            gpu: Num = self._parted(decodes, new, decodes + chunks) + end_s
        else:
            gpu = self.dense(decodes + new, decodes + chunks, chunks > 0) + end_s
        if decodes:
            kernels = self._beside_chunk if chunk else self._decode
            gpu = self._decode_s(kernels, decodes, rows) + (gpu + kernels.latency)
        if chunk:
            gpu = self._chunk_s(chunk) + (gpu + self._chunk_latency)
        if chunks or decodes > self.launching.captured:  # kernels outside of graphs take the host no less
            least_s = self.launching.seconds(decodes + new, decodes > 0, chunks > 0)
            gpu = max(gpu, least_s) if isinstance(gpu, float) else np.maximum(gpu, least_s)
        return self.overlapped(gpu, decodes, rows, chunk, slow)

    def overlapped(
        self, gpu: Num, decodes: int, rows: Sequence[Num] | Ints, chunk: Sequence[Num] | None, slow: float = 1.0
    ) -> tuple[Num, Num]:
        """(step, GPU) seconds, the step's with what its cache's lanes take beside."""
        if not self.units:
            return gpu, gpu
        fetched, returned = self._link(decodes, rows, chunk)
        lanes: list[Num] = [gpu]
        streams = self.streams if slow == 1.0 else crowded(self.streams, slow)
        lanes += [stream.seconds(1, fetched, returned) for stream in streams]
        step = overlapped(slowed(lanes), self.units)
        if decodes and self.beside:
            step = self.beside.seconds(decodes, rows) + step
        return step, gpu

    def _link(self, decodes: int, rows: Sequence[Num] | Ints, chunk: Sequence[Num] | None) -> tuple[Num, Num]:
        """Bytes (fetched from, returned to) the host in a step, or in each of several."""
        fetched: Num = rows[self.link_row] if decodes else 0
        returned = fetched if self._returns_all else decodes * self.token_bytes
        if chunk:
            fetched = fetched + chunk[1] * self.past_bytes
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
        return {stream.lane: float(stream.seconds(steps, fetched, returned)) for stream in self.streams}

    def swap_s(self, in_bytes: int, out_bytes: int) -> float:
        """Seconds to swap a chip's cache out and in; nothing overlaps them."""
        ways = zip(self.swap_ways, (in_bytes, out_bytes), strict=True)
        return sum(latency_s + moved / bytes_per_s for (latency_s, bytes_per_s), moved in ways if moved)


def _together(
    found: "list[tuple[int | None, int, float, NDArray[np.float64]]]",
) -> list[tuple[int | None, affine.Kernels]]:
    """Kernels by what a token may see; those of many layer kinds that see as much are priced as one, in columns."""
    chunks = []
    for seen in dict.fromkeys(one[0] for one in found):
        latencies, tables = zip(*[(late, table) for other, _, late, table in found if other == seen], strict=True)
        if len(tables) < MANY_KINDS or len({table.shape for table in tables}) > 1:
            chunks += [(seen, affine.compiled(*one)) for one in zip(latencies, ([t] for t in tables), strict=True)]
        else:
            chunks.append((seen, affine.compiled(sum(latencies), tables)))
    return chunks


def _summed(seconds: Num, like: Num) -> Num:
    """Seconds of a step or, as `like`, of several, where layer kinds have columns of their own [kinds, 1 or steps]."""
    if not isinstance(seconds, np.ndarray) or seconds.ndim < 2:
        return seconds
    total: NDArray[np.float64] = np.add.accumulate(seconds, axis=0)[-1]  # in the same order for one step as for many
    return total if isinstance(like, np.ndarray) else float(total[0])
