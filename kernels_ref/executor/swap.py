"""Moving a sequence's pages to pinned host memory and back, as they are stored."""

from collections.abc import Callable, Sequence

import torch

Move = Callable[[], None]


def _words(x: torch.Tensor) -> torch.Tensor:
    """The same bytes as whole words: indexing knows no fp8, and moves 8 bytes as fast as one."""
    return x.view(torch.int64)


def leave(stores: Sequence[torch.Tensor], rows: list[int]) -> tuple[list[torch.Tensor], Move]:
    """Room in host memory for these rows of each store, and what copies them there."""
    device = stores[0].device
    index = torch.tensor(rows, dtype=torch.int64, device=device)
    pinned = device.type == "cuda"
    away = [torch.empty((len(rows), *x.shape[1:]), dtype=x.dtype, pin_memory=pinned) for x in stores]

    def move() -> None:
        for store, host in zip(stores, away, strict=True):
            _words(host).copy_(_words(store).index_select(0, index), non_blocking=True)

    return away, move


def come(stores: Sequence[torch.Tensor], rows: list[int], away: Sequence[torch.Tensor]) -> Move:
    """What copies them back, into these rows."""
    device = stores[0].device
    index = torch.tensor(rows, dtype=torch.int64, device=device)

    def move() -> None:
        for store, host in zip(stores, away, strict=True):
            _words(store).index_copy_(0, index, _words(host).to(device, non_blocking=True))

    return move
