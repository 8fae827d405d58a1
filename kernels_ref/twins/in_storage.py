"""In storage: a drive attends to its rows, to a part of them by few channels (InstInfer, arXiv:2409.04992)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from kernels_ref.twins.choosing import PROBES, figure, grouped, packed, some, spread, top
from kernels_ref.twins.part import part_of
from kernels_ref.twins.placement import Held, OnChip, nbytes
from kernels_ref.twins.retention import all_of
from kernels_ref.twins.slots import Slots
from kernels_ref.twins.states import States
from kvsim.traits.elsewhere import InStorage
from kvsim.traits.placement import HBM
from kvsim.traits.profile import Figure

PAGE_BYTES = 4096  # of flash, over which rows of one kv head lie one after the other


@part_of(InStorage)
class InDrive(OnChip):
    """SparF, the paper's sparse attention after SparQ: the channels where queries are largest, then the best rows.

    Heads of a group add the size of their channels, then their probabilities. SparQ's mean value, which stands for rows
    that are not read, is left out. Where all tokens are read, attention is exact.
    """

    def chosen(self, layer: int, queries: Tensor, slots: Slots) -> Tensor | None:
        """The best share of the tokens."""
        if self.trait.tokens == 1 or not slots.position.shape[1]:
            return None
        rows, index = packed(slots)
        found = self.choose(queries, rows)
        return found if index is None else spread(found, index, slots.position.shape[1])

    def choose(self, queries: Tensor, rows: Slots) -> Tensor:
        """[Hk, n, N] of rows without gaps."""
        heads, dim = len(rows.key), rows.key.shape[2]
        asked = grouped(queries, heads)
        size = asked.abs()
        many = max(1, round(self.trait.channels * dim)) if self.trait.channels else dim
        channels = top(size.sum(1), torch.full((heads, 1), many))[:, None]
        part = asked * channels
        share = part.abs().sum(-1, keepdim=True) / size.sum(-1, keepdim=True).clamp(min=1e-9)
        scores = part @ rows.key[:, None].transpose(2, 3) / (dim * share).sqrt().clamp(min=1e-9)
        scores = scores.masked_fill(~rows.valid[:, None, None], -torch.inf).softmax(-1).sum(1)
        wanted = (rows.counts.double() * self.trait.tokens).ceil().long()
        return top(scores.masked_fill(~rows.valid[:, None], -1.0), wanted[:, None]) & rows.valid[:, None]

    def measure(self, states: States) -> Mapping[str, Figure]:
        """Tokens in pages that hold a chosen one, over chosen tokens, for the prompt's last queries."""
        if self.trait.tokens == 1:
            return {}
        wanted = read = 0
        for i in some(range(len(states.layers))):
            layer = states.layers[i]
            found = self.choose(layer.queries[:, -PROBES:], all_of(layer))
            each = max(1, PAGE_BYTES // (2 * layer.keys.shape[2]))
            pages = torch.nn.functional.pad(found, (0, -found.shape[2] % each)).unflatten(2, (-1, each))
            read += int(pages.any(3).sum()) * each
            wanted += int(found.sum())
        return figure(self.setting, self.trait.waste, read / wanted)

    def rest(self, rows: Held, index: Held, slots: list[Slots]) -> dict[str, int]:
        """All of it in the drive."""
        return {HBM: 0, self.trait.home: nbytes(rows) + nbytes(index)}
