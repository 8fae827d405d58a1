"""Persistent positions: what one layer's attention found is read by those after it (TidalDecode, arXiv:2410.05076)."""

import torch
from torch import Tensor

from kernels_ref.twins.choosing import Choosing, probabilities, top
from kernels_ref.twins.part import part_of
from kernels_ref.twins.slots import Slots
from kvsim.traits.persistent import PersistentPositions


@part_of(PersistentPositions)
class Persistent(Choosing):
    """The layers that choose take the tokens of highest probability, summed over a group's heads, for each kv head."""

    def choose(self, layer: int, queries: Tensor, rows: Slots) -> Tensor | None:
        """All in dense layers and in those that choose, whose choice by position is kept for the next ones."""
        if layer in self.trait.choosing:
            seen = probabilities(queries, rows.key, rows.valid).masked_fill(~rows.valid[:, None], -1.0)
            found = top(seen, torch.full((len(seen), 1), self.trait.budget, device=seen.device))
            found &= rows.valid[:, None]
            positions = torch.zeros(*found.shape[:2], int(rows.position.max()) + 1, dtype=torch.int8)
            at = rows.position.clamp(min=0)[:, None].expand(found.shape)
            self._found = positions.to(found.device).scatter_add(2, at, found.to(torch.int8)) > 0
        if layer in self.trait.choosing or layer < min(self.trait.choosing):
            return None
        at, known = rows.position.clamp(min=0), self._found.shape[2]
        read = self._found.gather(2, at.clamp(max=known - 1)[:, None].expand(-1, queries.shape[1], -1))
        return read & (at < known)[:, None]
