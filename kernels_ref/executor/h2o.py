"""H2O (arXiv:2306.14048): tokens that drew most attention so far, and the newest ones, per kv head.

Of a sequence's places the first `heavy` hold heavy hitters, the others are a ring of the newest tokens. A new token
takes the oldest's place in the ring; that one joins the heavy hitters if it outweighs the least of them.
"""

from collections.abc import Sequence as Several

import numpy as np
import torch

from kernels_ref.executor.batch import Batch, Chunk, Held
from kernels_ref.executor.decoder import Decoder
from kernels_ref.executor.elementwise import write_rows
from kernels_ref.executor.h2o_kernels import add_scores, evict
from kernels_ref.executor.lse import decode_with_lse
from kernels_ref.executor.paged import Paged
from kernels_ref.scorers import column_sums, column_sums_reference


class H2o(Paged):
    """`heavy` and `recent`: shares of the prompt that stay. Each row has a score, float32."""

    shares = False
    follows_chunks = True

    def __init__(
        self, decoder: Decoder, page: int, pages: int, widths: Several[int], heavy: float, recent: float
    ) -> None:
        super().__init__(decoder, page, pages, widths)
        self._shares_kept = heavy, recent
        shape = self.shape
        self.scores = torch.zeros(shape.layers, pages, shape.kv_heads, page, device=self.device)
        self.page_bytes += self.scores.nbytes // pages

    def stores(self) -> list[torch.Tensor]:
        """Scores move with the rows."""
        return [*super().stores(), *self.scores]

    def randomize(self) -> None:
        """Scores too."""
        super().randomize()
        self.scores.uniform_(generator=torch.Generator(self.device).manual_seed(2))

    def budget(self, held: Held) -> tuple[int, int]:
        """(heavy, recent) places of a sequence, by its prompt."""
        heavy, recent = (max(1, int(share * held.prompt)) for share in self._shares_kept)
        return heavy, recent

    def kept(self, held: Held, seen: int) -> int:
        """All of a prompt that is being read, then the budget."""
        return min(seen, sum(self.budget(held))) if held.extra.get("read") else seen

    def adopt(self, request: int, prompt: int, seen: int) -> None:
        """A sequence that has read its prompt is within its budget."""
        super().adopt(request, prompt, 0)
        held = self.held[request]
        held.extra["read"] = seen >= prompt
        self.grow(held, seen)
        held.seen = seen

    def place(self, held: Held, token: int) -> tuple[int, int]:
        """(where a decoded token goes, heavy hitters' places that what lies there may join: 0 while there is room)."""
        heavy, recent = self.budget(held)
        if token < heavy + recent:
            return token, 0
        return heavy + (token - max(held.prompt, heavy + recent)) % recent, heavy

    def slot(self, held: Held, token: int) -> int:
        """In the ring, over the oldest."""
        return super().slot(held, self.place(held, token)[0])

    def fill(self, batch: Batch) -> None:
        """Places that must be vacated, and the places of heavy hitters; of chunks, lengths and what stays."""
        super().fill(batch)
        going, heavies = np.full(batch.padded, -1, np.int32), np.zeros(batch.padded, np.int32)
        for row, held in enumerate(batch.held):
            going[row], heavies[row] = self.place(held, held.seen - 1)
        batch.fields["going"], batch.fields["heavy"] = going, heavies
        for chunk in batch.chunks:
            held = chunk.held
            batch.fields[f"length {held.request}"] = np.array([chunk.past + chunk.new], np.int32)
            batch.fields[f"table {held.request}"] = np.array(held.pages, np.int32)

    def rotate(self, layer: int, qkv: torch.Tensor) -> torch.Tensor:
        """First the places of new tokens are vacated."""
        on_device = self.batch.on_device
        if self.batch.padded:
            going, heavy = on_device["going"], on_device["heavy"]
            evict(self.pages_of(layer), self.scores[layer], on_device["table"], going, heavy, self.fused)
        return super().rotate(layer, qkv)

    def decode(self, layer: int, q: torch.Tensor, qkv: torch.Tensor) -> torch.Tensor:
        """Attention, then its weights onto the scores."""
        on_device, pages = self.batch.on_device, self.pages_of(layer)
        table, lengths = on_device["table"], on_device["lengths"]
        out, lse = decode_with_lse(q, *pages, table, lengths, self.fused)
        add_scores(q, pages[0], lse, table, lengths, self.scores[layer], self.fused)
        return out

    def after(self, layer: int, chunk: Chunk, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> None:
        """Attention that the chunk's queries gave to every key; at the prompt's end only the budget stays."""
        held, on_device = chunk.held, self.batch.on_device
        table = on_device[f"table {held.request}"].long()
        rows, keys = (x.transpose(0, 1).contiguous()[None] for x in (q, k))
        sums = (column_sums if self.fused else column_sums_reference)(rows, keys, on_device[f"length {held.request}"])
        scores = self.scores[layer]
        total = sums[0].float()  # [kv_heads, tokens]
        if chunk.past:
            before = scores[table].transpose(0, 1).flatten(1)[:, : chunk.past]
            total[:, : chunk.past] += before
        if chunk.last and sum(self.budget(held)) < held.prompt:
            heavy, recent = self.budget(held)
            best = total[:, : held.prompt - recent].topk(heavy, -1).indices
            newest = torch.arange(held.prompt - recent, held.prompt, device=k.device).expand(len(best), -1)
            stay = torch.cat([best, newest], 1)
            total = total.gather(1, stay)
            index = stay.T[:, :, None].expand(-1, -1, k.shape[2])
            k, v = (x.gather(0, index) for x in (k, v))
            place = torch.arange(heavy + recent, device=k.device)
            slots = (table[place // self.page] * self.page + place % self.page).int()
            write_rows(k, v, slots, self.pages_of(layer), self.fused)
        room = torch.zeros(len(total), len(table) * self.page, device=k.device)
        room[:, : total.shape[1]] = total
        scores.index_copy_(0, table, room.unflatten(1, (-1, self.page)).transpose(0, 1).contiguous())

    def done(self, batch: Batch) -> None:
        """The pages of what was dropped are free."""
        for chunk in batch.chunks:
            if chunk.last:
                held = chunk.held
                held.extra["read"] = True
                left = -(-self.kept(held, held.seen) // self.page)
                self.pool.drop(held.pages[left:])
                held.pages = held.pages[:left]
