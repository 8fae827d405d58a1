"""SnapKV (arXiv:2404.14469): at a prompt's end each kv head keeps the tokens that the last queries look at."""

from collections.abc import Sequence as Several

import numpy as np
import torch

from kernels_ref.executor.batch import Batch, Chunk, Held, Int32s
from kernels_ref.executor.decoder import Decoder
from kernels_ref.executor.elementwise import write_rows
from kernels_ref.executor.paged import Paged
from kernels_ref.scorers import column_sums, column_sums_reference

POOL = 5  # neighbours that a vote is averaged over (the repository's kernel_size)


class Snapkv(Paged):
    """`capacity` tokens of a prompt stay, its last `window` among them; then everything that is generated."""

    shares = False
    follows_chunks = True

    def __init__(
        self, decoder: Decoder, page: int, pages: int, widths: Several[int], capacity: int, window: int
    ) -> None:
        super().__init__(decoder, page, pages, widths)
        self.capacity, self.window = capacity, window

    def kept(self, held: Held, seen: int) -> int:
        """All but what was dropped at the prompt's end."""
        return seen - held.extra.get("dropped", 0)

    def slot(self, held: Held, token: int) -> int:
        """Behind what is kept."""
        return super().slot(held, token - held.extra.get("dropped", 0))

    def adopt(self, request: int, prompt: int, seen: int) -> None:
        """A sequence that has read its prompt has dropped some of it."""
        super().adopt(request, prompt, 0)
        held = self.held[request]
        held.extra["dropped"] = self._excess(prompt) if seen >= prompt else 0
        self.grow(held, seen)
        held.seen = seen

    def _excess(self, prompt: int) -> int:
        return max(0, prompt - self.capacity)

    def fill(self, batch: Batch) -> None:
        """Of a prompt that ends: its length, and the slots of what stays."""
        super().fill(batch)
        for chunk in batch.chunks:
            if chunk.last and self._excess(chunk.held.prompt):
                place = np.arange(self.capacity)
                pages = np.array(chunk.held.pages, np.int32)
                slots: Int32s = (pages[place // self.page] * self.page + place % self.page).astype(np.int32)
                batch.fields[f"stay {chunk.held.request}"] = slots
                batch.fields[f"length {chunk.held.request}"] = np.array([chunk.held.prompt], np.int32)

    def after(self, layer: int, chunk: Chunk, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> None:
        """Votes of the last queries, and a copy of what they choose over the prompt's first pages."""
        held = chunk.held
        if not self._excess(held.prompt):
            return
        tails = held.extra.setdefault("tails", {})
        if layer in tails:  # the window began in the chunk before
            q = torch.cat([tails[layer], q])
        queries = q[-self.window :]
        left = held.prompt - chunk.past - chunk.new
        if not chunk.last:
            if left < self.window:
                tails[layer] = queries.clone()
            return
        on_device = self.batch.on_device
        chosen = self.chosen(queries, k, on_device[f"length {held.request}"])
        index = chosen.T[:, :, None].expand(-1, -1, k.shape[2])
        kept = [x.gather(0, index) for x in (k, v)]
        write_rows(kept[0], kept[1], on_device[f"stay {held.request}"], self.pages_of(layer), self.fused)

    def chosen(self, queries: torch.Tensor, k: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
        """Tokens that stay [kv_heads, capacity]: the best of what is before the window, and the window.

        `queries` [window, heads, dim], `k` [prompt, kv_heads, dim], `length` [1] the prompt's.
        """
        before = len(k) - self.window
        rows, keys = (x.transpose(0, 1).contiguous()[None] for x in (queries, k))
        sums = (column_sums if self.fused else column_sums_reference)(rows, keys, length)[0, :, :before].float()
        votes = torch.nn.functional.avg_pool1d(sums, POOL, stride=1, padding=POOL // 2)
        best = votes.topk(self.capacity - self.window, -1).indices
        window = torch.arange(before, len(k), device=k.device).expand(len(best), -1)
        return torch.cat([best, window], 1)

    def done(self, batch: Batch) -> None:
        """The pages of what was dropped are free."""
        for chunk in batch.chunks:
            if chunk.last:
                held = chunk.held
                held.extra.pop("tails", None)
                held.extra["dropped"] = self._excess(held.prompt)
                left = -(-self.kept(held, held.seen) // self.page)
                self.pool.drop(held.pages[left:])
                held.pages = held.pages[:left]
