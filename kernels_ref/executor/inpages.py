"""A cache whose rows rest in pages of a pool, which sequences with equal prefixes may share."""

from collections.abc import Callable
from collections.abc import Sequence as Several

import torch

from kernels_ref.executor.batch import Batch, Held
from kernels_ref.executor.cache import Cache
from kernels_ref.executor.decoder import Decoder
from kernels_ref.executor.pool import Pages
from kernels_ref.executor.swap import come, leave


class InPages(Cache):
    """`pages` pages of `page` tokens; `shares`: whether the rows of equal prefixes are equal."""

    shares = True

    def __init__(self, decoder: Decoder, page: int, pages: int, widths: Several[int]) -> None:
        super().__init__(decoder, page, widths)
        self.pool = Pages(pages)
        self.page_bytes = 0

    def admit(self, held: Held) -> None:
        """Its hits are pages that it shares. Raises RuntimeError where the engine counts more."""
        names = [(run, block) for run, blocks in held.runs for block in range(blocks)]
        held.pages = self.pool.share(names)
        if len(held.pages) < len(names):
            raise RuntimeError(f"request {held.request} hit {len(names)} blocks, {len(held.pages)} pages hold them")
        held.seen = len(held.pages) * self.page

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

    def held_bytes(self, held: Held) -> int:
        """Its pages', shared or not."""
        return len(held.pages) * self.page_bytes

    def stores(self) -> list[torch.Tensor]:
        """Everything that pages hold: tensors [pages, ..]."""
        raise NotImplementedError

    def swap_out(self, held: Held) -> None:
        """Its pages' content to pinned memory; others may have the pages."""
        if self.shares:
            self.name(held)
        held.extra["away"], move = leave(self.stores(), held.pages)
        self.pool.drop(held.pages)
        held.pages = []
        self.batch.moves.append(move)

    def swap_in(self, held: Held) -> None:
        """Back into pages, which need not be the same."""
        away = held.extra.pop("away")
        held.pages = self.pool.take(len(away[0]))
        self.batch.moves.append(come(self.stores(), held.pages, away))

    def done(self, batch: Batch) -> None:
        """Prompts that are complete can be hit from now on."""
        for chunk in batch.chunks:
            if chunk.last and self.shares:
                self.name(chunk.held, named_by_trace=True)
