"""The cache in pinned host memory, fetched for every step: a layer at a time, or some kv heads of a layer.

HeadInfer (arXiv:2502.12574) and layer-wise offloading (arXiv:2303.06865). While attention works on one unit, the next
is fetched; new rows go back beside. Units are those of the placement: `heads` kv heads of one layer.
"""

from collections.abc import Sequence as Several

import numpy as np
import torch

from kernels_ref.executor.batch import Batch, Chunk, Held, Int32s
from kernels_ref.executor.decoder import Decoder
from kernels_ref.executor.elementwise import rotary, write_rows
from kernels_ref.executor.flash import Runs, attend
from kernels_ref.executor.inpages import InPages
from kernels_ref.executor.lanes import Lanes
from kernels_ref.executor.lse import decode_with_lse
from kernels_ref.executor.past import read_past
from kernels_ref.executor.runs import RunPages, runs_of

Copy = tuple[int, int, int]  # (first page of the buffer, first page of the pool, pages)


SPARE_BYTES = 4e9  # of host memory at most, for places that keep a growing sequence in one piece


class Hosted(InPages):
    """`pages` pages in host memory, [units, places, 2, heads, page, dim] a layer: a unit's pages are neighbours.

    HeadInfer gives a sequence one buffer, which is one copy a unit. Pages come and go; with up to three places for
    each, a sequence finds the one after its last free.
    """

    graphed = False  # what a step copies, and from where, is its own

    def __init__(self, decoder: Decoder, page: int, pages: int, widths: Several[int], heads: int, buffers: int) -> None:
        super().__init__(decoder, page, pages, widths)
        shape = self.shape
        self.heads, self.units = heads, shape.kv_heads // heads
        self.page_bytes = self.units * shape.layers * 2 * heads * page * shape.dim * shape.dtype.itemsize
        self.pool = RunPages(pages, pages + min(2 * pages, int(SPARE_BYTES) // self.page_bytes))
        size = (self.units, self.pool.places, 2, heads, page, shape.dim)
        pinned = self.device.type == "cuda"
        self.host = [torch.empty(size, dtype=shape.dtype, pin_memory=pinned) for _ in range(shape.layers)]
        self.lanes = Lanes(self.device, buffers)
        self._buffers: list[torch.Tensor] = []
        self._new: torch.Tensor | None = None
        self._new_host: torch.Tensor | None = None
        self._fetches: list[Copy] = []
        self._returns: dict[int, list[Copy]] = {}
        self._fetched = 0

    def randomize(self) -> None:
        """Normal rows, drawn on the device."""
        generator = torch.Generator(self.device).manual_seed(2)
        for layer in self.host:
            flat = layer.view(-1)
            for piece in flat.split(1 << 28):
                drawn = torch.randn(len(piece), dtype=torch.float16, device=self.device, generator=generator)
                piece.copy_(drawn.to(flat.dtype), non_blocking=False)

    def grow(self, held: Held, seen: int) -> None:
        """Pages next to those it has, where they are free."""
        wanted = -(-seen // self.page) - len(held.pages)
        if wanted > 0:
            held.pages += self.pool.take_after(held.pages[-1] if held.pages else None, wanted)

    def swap_out(self, held: Held) -> None:
        """The engine swaps no cache that is in host memory already."""
        raise RuntimeError("a cache in host memory is not swapped")

    # -- what a step copies -------------------------------------------------------------------------------------------

    def fill(self, batch: Batch) -> None:
        """Rows' places in the buffer: all pages of one sequence after those of another."""
        super().fill(batch)
        first, slots, table = 0, [], batch.fields["table"]
        self._fetches, self._returns = [], {}
        for row, held in enumerate(batch.held):
            pages = -(-held.seen // self.page)
            table[row, :pages] = np.arange(first, first + pages)
            slots.append(first * self.page + held.seen - 1)
            self._fetch(first, held.pages[: -(-(held.seen - 1) // self.page)])
            first += pages
        slots += [-1] * (batch.padded - batch.decodes)
        for chunk in batch.chunks:
            held, end = chunk.held, chunk.past + chunk.new
            pages = -(-end // self.page)
            slots += range(first * self.page + chunk.past, first * self.page + end)
            batch.fields[f"table {held.request}"] = np.arange(first, first + pages, dtype=np.int32)
            batch.fields[f"starts {held.request}"] = np.array([0, chunk.new, 0, end], np.int32)
            self._fetch(first, held.pages[: -(-chunk.past // self.page)])
            done = chunk.past // self.page
            copies = [(first + done + at, page, many) for at, page, many in runs_of(held.pages[done:pages])]
            self._returns[held.request] = copies
            first += pages
        batch.fields["slots"] = np.array(slots, np.int32)
        self._make_room(first, batch.padded)

    def _fetch(self, first: int, pages: list[int]) -> None:
        self._fetches += [(first + at, page, many) for at, page, many in runs_of(pages)]

    def _make_room(self, pages: int, rows: int) -> None:
        shape = self.shape
        if not self._buffers or len(self._buffers[0]) < pages:
            self._buffers = []
            size = (max(pages, self.pool.count), 2, self.heads, self.page, shape.dim)
            made = [torch.empty(size, dtype=shape.dtype, device=self.device) for _ in range(self.lanes.buffers)]
            self._buffers = made
        if self._new is None or self._new.shape[1] < rows:
            most = max(rows, 16)
            size = (shape.layers, most, 2, shape.kv_heads, shape.dim)
            self._new = torch.empty(size, dtype=shape.dtype, device=self.device)
            self._new_host = torch.empty(size, dtype=shape.dtype, pin_memory=self.device.type == "cuda")

    def slot(self, held: Held, token: int) -> int:
        """Known when all rows are."""
        return -1

    def chunk_slots(self, held: Held, past: int, end: int) -> Int32s:
        """Known when all rows are."""
        return np.full(end - past, -1, np.int32)

    # -- attention ----------------------------------------------------------------------------------------------------

    def rotate(self, layer: int, qkv: torch.Tensor) -> torch.Tensor:
        """Rows are written unit by unit."""
        on_device = self.batch.on_device
        return rotary(
            qkv, self.decoder.turns, on_device["positions"], self.shape.heads, self.shape.kv_heads, self.fused
        )

    def attend(self, layer: int, qkv: torch.Tensor) -> torch.Tensor:
        """Unit by unit, the next one's pages on their way meanwhile."""
        shape, batch = self.shape, self.batch
        if layer == 0:
            self.lanes.begin()
            self._fetched = 0
            if batch.chunks:
                self.begin_chunks()
        q = self.rotate(layer, qkv)
        at = shape.heads * shape.dim
        new = qkv[:, at:].view(len(qkv), 2, shape.kv_heads, shape.dim)
        out = torch.empty_like(q)
        wide = shape.heads // self.units
        decoded = None
        if batch.padded and self.units > 1:  # each unit's queries in one piece, and its outputs
            mine = q[: batch.padded].unflatten(1, (self.units, wide)).transpose(0, 1).contiguous()
            decoded = torch.empty_like(mine)
        for unit in range(self.units):
            number = layer * self.units + unit
            self._fetch_through(number + 1)
            self.lanes.await_fetch(number % self.lanes.buffers)
            heads = slice(unit * self.heads, (unit + 1) * self.heads)
            queries = slice(unit * wide, (unit + 1) * wide)
            buffer = self._buffers[number % self.lanes.buffers]
            pages = (buffer[:, 0], buffer[:, 1])
            k, v = new[:, 0, heads], new[:, 1, heads]
            self._write(pages, k, v)
            if batch.padded:
                rows = q[: batch.padded] if decoded is None else mine[unit]
                found, _ = decode_with_lse(
                    rows, *pages, batch.on_device["table"], batch.on_device["lengths"], self.fused
                )
                (out[: batch.padded] if decoded is None else decoded[unit]).copy_(found)
            for i, chunk in enumerate(batch.chunks):
                self._read_chunk(i, chunk, pages, q[:, queries], k, v, out[:, queries])
            self.lanes.used(number % self.lanes.buffers)
            if batch.chunks:
                self._return(layer, unit, number % self.lanes.buffers)
        if decoded is not None:
            out[: batch.padded] = decoded.transpose(0, 1).flatten(1, 2)
        if batch.padded:
            self._return_new(layer, new)
        if layer == shape.layers - 1:
            self.lanes.end()
        return out.flatten(1)

    def _write(self, pages: tuple[torch.Tensor, torch.Tensor], k: torch.Tensor, v: torch.Tensor) -> None:
        slots = self.batch.on_device["slots"]
        live = slots >= 0 if not self.fused else slice(None)
        write_rows(k[live], v[live], slots[live], pages, self.fused)

    def _fetch_through(self, last: int) -> None:
        """Start the fetches of units up to `last`, as far as there are units."""
        while self._fetched <= min(last, self.shape.layers * self.units - 1):
            layer, unit = divmod(self._fetched, self.units)
            buffer = self._fetched % self.lanes.buffers
            with self.lanes.fetching(buffer):
                for first, page, many in self._fetches:
                    rows = self.host[layer][unit, page : page + many]
                    self._buffers[buffer][first : first + many].copy_(rows, non_blocking=True)
            self._fetched += 1

    def _read_chunk(
        self,
        i: int,
        chunk: Chunk,
        pages: tuple[torch.Tensor, torch.Tensor],
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        out: torch.Tensor,
    ) -> None:
        """One chunk's attention in one unit."""
        rows = slice(chunk.first, chunk.first + chunk.new)
        k, v = k[rows], v[rows]
        if chunk.past:
            whole = [torch.empty(chunk.past + chunk.new, *k.shape[1:], dtype=k.dtype, device=k.device) for _ in "kv"]
            table = self.batch.on_device[f"table {chunk.held.request}"]
            read_past(pages, table, chunk.past + chunk.new, (whole[0], whole[1]), self.fused)
            k, v = whole
        out[rows] = attend(q[rows], k, v, self.single[i])[0]

    def begin_chunks(self) -> None:
        """Each chunk is attended on its own."""
        on_device = self.batch.on_device
        self.single = []
        for chunk in self.batch.chunks:
            own = on_device[f"starts {chunk.held.request}"]
            whole = chunk.past + chunk.new
            self.single.append(Runs((0, chunk.new), (0, whole), (own[:2], own[2:4])))

    def _return(self, layer: int, unit: int, buffer: int) -> None:
        """The pages that chunks wrote to, back to the host."""
        with self.lanes.returning(buffer):
            for copies in self._returns.values():
                for first, page, many in copies:
                    to = self.host[layer][unit, page : page + many]
                    to.copy_(self._buffers[buffer][first : first + many], non_blocking=True)

    def _return_new(self, layer: int, new: torch.Tensor) -> None:
        """The rows of decoded tokens, to be put in place by the host."""
        rows = self.batch.padded
        assert self._new is not None and self._new_host is not None
        self._new[layer, :rows].copy_(new[:rows])
        with self.lanes.returning():
            self._new_host[layer, :rows].copy_(self._new[layer, :rows], non_blocking=True)

    def done(self, batch: Batch) -> None:
        """Decoded rows go to their pages."""
        super().done(batch)
        if not batch.held:
            return
        assert self._new_host is not None
        token = np.array([held.seen - 1 for held in batch.held])
        page = torch.tensor([held.pages[t // self.page] for held, t in zip(batch.held, token, strict=True)])
        offset = torch.from_numpy(token % self.page)
        for layer, stored in enumerate(self.host):
            rows = self._new_host[layer, : len(batch.held)].unflatten(2, (self.units, self.heads))
            stored[:, page, :, :, offset] = rows.permute(0, 2, 1, 3, 4)
