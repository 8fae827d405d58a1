"""Rows of all kv heads as one row."""

from torch import Tensor


def joined(rows: Tensor) -> Tensor:
    """Rows [Hk, n, D] as [n, Hk x D]."""
    return rows.transpose(0, 1).flatten(1)


def by_head(rows: Tensor, heads: int) -> Tensor:
    """The way back."""
    return rows.unflatten(1, (heads, -1)).transpose(0, 1)
