"""Figures of keys by position: computed once, when a token comes."""

from collections.abc import Callable

import torch
from torch import Tensor

from kernels_ref.twins.slots import Slots


class ByPosition:
    """Rows [Hk, N, ...] of slots that have no gaps, by what `of(heads' keys [Hk, n, D], positions [Hk, n])` gives."""

    def __init__(self) -> None:
        self._table: Tensor | None = None
        self._known: Tensor | None = None

    def of(self, rows: Slots, of: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Of each slot; nothing in particular of empty ones."""
        at = rows.position.clamp(min=0)
        size = int(at.max()) + 1 if at.numel() else 0
        if self._known is None or size > self._known.shape[1]:
            grown = torch.zeros(len(at), size + size // 4 + 64, dtype=torch.bool, device=at.device)
            if self._known is not None:
                grown[:, : self._known.shape[1]] = self._known
            self._known = grown
        new = (rows.valid & ~self._known.gather(1, at)).any(0).nonzero()[:, 0]
        if len(new) or self._table is None:
            made = of(rows.key[:, new], at[:, new])
            table = made.new_zeros(*self._known.shape, *made.shape[2:])
            if self._table is not None:
                table[:, : self._table.shape[1]] = self._table
            heads = torch.arange(len(at), device=at.device)[:, None]
            valid = rows.valid[:, new]
            table[heads.expand(valid.shape)[valid], at[:, new][valid]] = made[valid]
            self._known[heads.expand(valid.shape)[valid], at[:, new][valid]] = True
            self._table = table
        return self._table[torch.arange(len(at), device=at.device)[:, None], at]
