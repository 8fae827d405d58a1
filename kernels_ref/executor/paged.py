"""The paged cache: every row at 16 or 8 bits in pages of HBM, shared by prefix; decode by `kernels_ref.decode`."""

from collections.abc import Callable
from collections.abc import Sequence as Several

import numpy as np
import torch

from kernels_ref.decode import decode
from kernels_ref.executor.batch import Batch, Chunk, Held
from kernels_ref.executor.cache import Cache
from kernels_ref.executor.decoder import Decoder
from kernels_ref.executor.elementwise import FP8, rotary
from kernels_ref.executor.past import read_past
from kernels_ref.executor.plain import decode_plain
from kernels_ref.executor.pool import Pages


class Paged(Cache):
    """`pages` pages of `page` tokens: [layers, 2, pages, kv_heads, page, dim]. `fp8`: stored as e4m3 by two scales."""

    def __init__(self, decoder: Decoder, page: int, pages: int, widths: Several[int], *, fp8: bool = False) -> None:
        super().__init__(decoder, page, widths)
        shape = self.shape
        kind = FP8 if fp8 else shape.dtype
        size = (shape.layers, 2, pages, shape.kv_heads, page, shape.dim)
        self.store = torch.zeros(size, dtype=torch.uint8 if fp8 else kind, device=self.device).view(kind)
        self.scales = torch.ones(shape.layers, 2, device=self.device) if fp8 else None  # as vLLM's, uncalibrated
        self.pool = Pages(pages)
        self.page_bytes = self.store.nbytes // pages if pages else 0

    # -- pages --------------------------------------------------------------------------------------------------------

    def admit(self, held: Held) -> None:
        """Its hits are pages that it shares."""
        names = [(run, block) for run, blocks in held.runs for block in range(blocks)]
        held.pages = self.pool.share(names)
        if len(held.pages) * self.page != held.seen:
            raise RuntimeError(f"request {held.request} hit {held.seen} tokens, in {len(held.pages)} pages")

    def know(self, cached: Callable[[int], int]) -> None:
        """Pages are given up as the engine's cache gives up their names."""
        self.pool.cached = cached

    def grow(self, held: Held, seen: int) -> None:
        """Whole pages for what is kept."""
        wanted = -(-self.kept(held, seen) // self.page) - len(held.pages)
        if wanted > 0:
            held.pages += self.pool.take(wanted)

    def name(self, held: Held, named_by_trace: bool = False) -> None:
        """Full pages get their names, so that others may hit them: at a prompt's end those that the trace names."""
        whole = held.seen // self.page
        runs = [run for run in held.runs if run[0] >= 0] if named_by_trace else held.runs
        names = ((run, block) for run, blocks in runs for block in range(blocks))
        for i, name in zip(range(min(whole, len(held.pages))), names, strict=False):
            held.pages[i] = self.pool.call(name, held.pages[i])

    def free(self, held: Held) -> None:
        """Named as far as they are full, then dropped."""
        if self.shares:
            self.name(held)
        self.pool.drop(held.pages)
        held.pages = []

    shares = True  # whether the rows of equal prefixes are equal

    def held_bytes(self, held: Held) -> int:
        """Its pages', shared or not."""
        return len(held.pages) * self.page_bytes

    def swap_out(self, held: Held) -> None:
        """Its pages' content to pinned memory, layer by layer."""
        if self.shares:
            self.name(held)
        pages, held.pages = held.pages, []
        held.extra["away"] = away = torch.empty(
            (*self.store.shape[:2], len(pages), *self.store.shape[3:]), dtype=self.store.dtype, pin_memory=self.on_gpu
        )
        self.pool.drop(pages)
        index = torch.tensor(pages, device=self.device)

        def move() -> None:
            for layer in range(self.shape.layers):
                for part in range(2):
                    chosen = self.store[layer, part].view(torch.uint8).index_select(0, index)
                    away[layer, part].view(torch.uint8).copy_(chosen, non_blocking=True)

        self.batch.moves.append(move)

    def swap_in(self, held: Held) -> None:
        """Back into pages, which need not be the same."""
        away = held.extra.pop("away")
        held.pages = self.pool.take(away.shape[2])
        index = torch.tensor(held.pages, device=self.device)

        def move() -> None:
            for layer in range(self.shape.layers):
                for part in range(2):
                    back = away[layer, part].to(self.device, non_blocking=True)
                    self.store[layer, part].view(torch.uint8).index_copy_(0, index, back.view(torch.uint8))

        self.batch.moves.append(move)

    @property
    def on_gpu(self) -> bool:
        """Whether there is a GPU."""
        return self.device.type == "cuda"

    def done(self, batch: Batch) -> None:
        """Prompts that are complete can be hit from now on."""
        for chunk in batch.chunks:
            if chunk.last and self.shares:
                self.name(chunk.held, named_by_trace=True)

    def randomize(self) -> None:
        """Normal rows, drawn in pieces."""
        flat = self.store.view(-1)
        for piece in flat.split(1 << 28):
            piece.copy_(torch.randn(len(piece), dtype=torch.float16, device=self.device))

    # -- attention ----------------------------------------------------------------------------------------------------

    def pages_of(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of a layer [pages, kv_heads, page, dim]."""
        return self.store[layer, 0], self.store[layer, 1]

    def _scales(self, layer: int) -> torch.Tensor | None:
        return None if self.scales is None else self.scales[layer]

    def rotate(self, layer: int, qkv: torch.Tensor) -> torch.Tensor:
        """All rows go to their slots at once."""
        on_device = self.batch.on_device
        return rotary(
            qkv,
            self.decoder.turns,
            on_device["positions"],
            self.shape.heads,
            self.shape.kv_heads,
            self.fused,
            on_device["slots"],
            self.pages_of(layer),
            self._scales(layer),
        )

    def decode(self, layer: int, q: torch.Tensor, qkv: torch.Tensor) -> torch.Tensor:
        """Over the pages in the table."""
        on_device = self.batch.on_device
        attention = decode if self.fused else decode_plain
        return attention(q, *self.pages_of(layer), on_device["table"], on_device["lengths"])

    def past(self, layer: int, chunk: Chunk, k: torch.Tensor, v: torch.Tensor) -> None:
        """Out of its pages."""
        table = self.batch.on_device[f"table {chunk.held.request}"]
        read_past(self.pages_of(layer), table, chunk.past, (k, v), self.fused, self._scales(layer))

    def fill(self, batch: Batch) -> None:
        """Chunks with a past need their own tables."""
        super().fill(batch)
        for chunk in batch.chunks:
            if chunk.past:
                batch.fields[f"table {chunk.held.request}"] = np.array(chunk.held.pages, np.int32)
