"""A layer's kept tokens as slots: ragged heads are padded, an empty slot has position -1."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

_NAMES = ("position", "key", "value", "weight", "kind")


@dataclass(frozen=True)
class Slots:
    """Slots of one layer, in order of positions; empty ones last.

    Attributes:
        position: [Hk, N] int64: which token; where several were merged, the one that the others went into.
        key, value: [Hk, N, D], [Hk, N, Dv] float32, keys after rotary embedding.
        extra: [Hk, N, ...] by name: what a scorer keeps of a slot, zeros for a new one.
        weight: [Hk, N] float32: tokens that a slot stands for; attention counts it so often where `counted`.
        kind: [Hk, N] int64: token class.
    """

    position: Tensor
    key: Tensor
    value: Tensor
    weight: Tensor
    kind: Tensor
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    counted: bool = False

    @property
    def valid(self) -> Tensor:
        """[Hk, N]: whether a slot is in use."""
        return self.position >= 0

    @property
    def counts(self) -> Tensor:
        """[Hk]: slots in use."""
        return self.valid.sum(1)

    def take(self, index: Tensor) -> "Slots":
        """Slots `index` [Hk, M] of each head; -1 leaves one empty."""
        safe = index.clamp(min=0)
        moved = {name: gathered(getattr(self, name), safe) for name in _NAMES}
        moved["position"] = torch.where(index >= 0, moved["position"], -1)
        return replace(self, **moved, extra={name: gathered(rows, safe) for name, rows in self.extra.items()})

    def append(self, position: Tensor, key: Tensor, value: Tensor, kind: int = 0) -> "Slots":
        """The same with n new tokens in every head, at `position` [n]; rows are [Hk, n, ..].

        They come after a head's empty slots where heads are ragged.
        """
        made = Slots.of(position, key, value, kind)
        joined = {name: torch.cat([getattr(self, name), getattr(made, name)], 1) for name in _NAMES}
        heads, n = key.shape[:2]
        extra = {
            name: torch.cat([rows, rows.new_zeros(heads, n, *rows.shape[2:])], 1) for name, rows in self.extra.items()
        }
        return replace(self, **joined, extra=extra)

    def with_extra(self, **rows: Tensor) -> "Slots":
        """The same with these kept of each slot."""
        return replace(self, extra={**self.extra, **rows})

    @classmethod
    def of(cls, position: Tensor, key: Tensor, value: Tensor, kind: int = 0) -> "Slots":
        """Tokens `position` [n] in every head, with rows [Hk, n, ..]."""
        shape = key.shape[:2]
        kinds = torch.full(shape, kind, dtype=torch.int64, device=key.device)
        return cls(position.to(key.device).expand(shape), key, value, torch.ones(shape, device=key.device), kinds)


def gathered(rows: Tensor, index: Tensor) -> Tensor:
    """`rows` [Hk, N, ...] of slots `index` [Hk, M]."""
    if rows.dim() == 2:
        return rows.gather(1, index)
    heads, slots = rows.shape[:2]
    flat = index + torch.arange(heads, device=index.device)[:, None] * slots
    return rows.flatten(0, 1).index_select(0, flat.flatten()).reshape(*index.shape, *rows.shape[2:])


def best(rank: Tensor, many: Tensor, valid: Tensor) -> Tensor:
    """Indices [Hk, max(many)] of each head's `many` [Hk] highest `rank` [Hk, N] among `valid`, rising, -1 behind them.

    Of equal ranks the earlier slot goes first.
    """
    width = min(int(many.max()), rank.shape[1])
    order = torch.where(valid, rank, -torch.inf).argsort(dim=1, descending=True, stable=True)[:, :width]
    chosen = torch.arange(width, device=rank.device) < many.clamp(max=valid.sum(1))[:, None]
    order = torch.where(chosen, order, rank.shape[1]).sort(1).values
    return torch.where(order < rank.shape[1], order, -1)
