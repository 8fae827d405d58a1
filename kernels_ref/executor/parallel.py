"""Tensor parallelism: what the chips of a replica tell each other (Megatron-LM, arXiv:1909.08053)."""

from typing import Protocol

import torch
import torch.distributed as dist


class Group(Protocol):
    """The chips of a replica, `rank` of `size`."""

    rank: int
    size: int

    def reduce(self, x: torch.Tensor, /) -> torch.Tensor:
        """The sum over all chips."""

    def gather(self, x: torch.Tensor, /) -> torch.Tensor:
        """The last dimension's parts of all chips, joined."""


class Alone:
    """One chip: nothing to tell."""

    rank, size = 0, 1

    def reduce(self, x: torch.Tensor, /) -> torch.Tensor:
        """Itself."""
        return x

    def gather(self, x: torch.Tensor, /) -> torch.Tensor:
        """Itself."""
        return x


class Chips:
    """Processes of one `torch.distributed` group: NCCL on GPUs, gloo on CPUs. Both calls may be captured in graphs."""

    def __init__(self) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    def reduce(self, x: torch.Tensor, /) -> torch.Tensor:
        """The sum over all chips, in place."""
        dist.all_reduce(x)
        return x

    def gather(self, x: torch.Tensor, /) -> torch.Tensor:
        """The last dimension's parts of all chips, joined in order of rank."""
        parts = torch.empty(self.size, *x.shape, dtype=x.dtype, device=x.device)
        dist.all_gather_into_tensor(parts, x.contiguous())
        return parts.movedim(0, -2).flatten(-2)
