"""The paged cache: every row at 16 or 8 bits in pages of HBM, shared by prefix; decode by `kernels_ref.decode`."""

from collections.abc import Sequence as Several

import numpy as np
import torch

from kernels_ref.decode import decode
from kernels_ref.executor.batch import Batch, Chunk
from kernels_ref.executor.decoder import Decoder
from kernels_ref.executor.elementwise import FP8, rotary
from kernels_ref.executor.inpages import InPages
from kernels_ref.executor.past import read_past
from kernels_ref.executor.plain import decode_plain


class Paged(InPages):
    """`pages` pages of `page` tokens: [layers, 2, pages, kv_heads, page, dim]. `fp8`: stored as e4m3 by two scales."""

    def __init__(self, decoder: Decoder, page: int, pages: int, widths: Several[int], *, fp8: bool = False) -> None:
        super().__init__(decoder, page, pages, widths)
        shape = self.shape
        kind = FP8 if fp8 else shape.dtype
        size = (shape.layers, 2, pages, shape.kv_heads, page, shape.dim)
        self.store = torch.zeros(size, dtype=torch.uint8 if fp8 else kind, device=self.device).view(kind)
        self.scales = torch.ones(shape.layers, 2, device=self.device) if fp8 else None  # as vLLM's, uncalibrated
        self._pages = [(self.store[layer, 0], self.store[layer, 1]) for layer in range(shape.layers)]
        self.page_bytes = self.store.nbytes // pages if pages else 0

    def stores(self) -> list[torch.Tensor]:
        """Keys and values of each layer."""
        return list(self.store.flatten(0, 1))

    def randomize(self) -> None:
        """Normal rows, drawn in pieces."""
        generator = torch.Generator(self.device).manual_seed(2)
        flat = self.store.view(-1)
        for piece in flat.split(1 << 28):
            piece.copy_(torch.randn(len(piece), dtype=torch.float16, device=self.device, generator=generator))

    # -- attention ----------------------------------------------------------------------------------------------------

    def pages_of(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of a layer [pages, kv_heads, page, dim]."""
        return self._pages[layer]

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
