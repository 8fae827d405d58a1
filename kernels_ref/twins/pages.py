"""Pages: bounds of each page's keys say which are read (Quest, arXiv:2406.10774, section 3.2)."""

import torch
from torch import Tensor

from kernels_ref.twins.choosing import Choosing, grouped, packed, top
from kernels_ref.twins.part import part_of
from kernels_ref.twins.slots import Slots
from kvsim.traits.pages import Pages


@part_of(Pages)
class BestPages(Choosing):
    """The pages of highest upper bound, and the newest one, which counts.

    A query's bound is the larger of its products with a page's minimum and maximum, summed over channels; heads of a
    group add theirs.
    """

    def reads_all(self, layer: int) -> bool:
        """Dense layers."""
        return bool(layer < self.trait.dense_layers)

    def choose(self, layer: int, queries: Tensor, rows: Slots) -> Tensor | None:
        """budget / page pages."""
        counts, page = rows.counts, self.trait.page
        if (counts <= self.trait.budget).all():
            return None
        low, high = self.bounds(rows)
        asked = grouped(queries, low.shape[0])
        up, down = asked.clamp(min=0).sum(1), asked.clamp(max=0).sum(1)
        scores = up @ high.transpose(1, 2) + down @ low.transpose(1, 2)
        pages = torch.arange(low.shape[1], device=low.device)
        last = ((counts - 1) // page)[:, None, None]
        scores = torch.where(pages == last, torch.inf, scores).masked_fill(pages > last, -torch.inf)
        many = torch.full((len(counts), 1), self.trait.budget // page, device=low.device)
        chosen = top(scores, many)
        return chosen.repeat_interleave(page, 2)[:, :, : rows.position.shape[1]]

    def bounds(self, rows: Slots) -> tuple[Tensor, Tensor]:
        """Minimum and maximum [Hk, pages, D] of each page's keys."""
        page, padding = self.trait.page, -rows.position.shape[1] % self.trait.page
        found = []
        for empty, of in ((torch.inf, torch.amin), (-torch.inf, torch.amax)):
            keys = rows.key.masked_fill(~rows.valid[..., None], empty)
            keys = torch.nn.functional.pad(keys, (0, 0, 0, padding), value=empty)
            found.append(of(keys.reshape(keys.shape[0], -1, page, keys.shape[2]), 2).nan_to_num(0.0, 0.0, 0.0))
        return found[0], found[1]

    def held(self, layer: int, slots: Slots) -> list[Tensor]:
        """Both bounds of pages in use, 16 bits."""
        if self.reads_all(layer):
            return []
        rows, _ = packed(slots)
        pages = -(-rows.counts // self.trait.page)
        return [x[: int(n)].half() for bound in self.bounds(rows) for x, n in zip(bound, pages, strict=True)]
