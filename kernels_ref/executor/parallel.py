"""Tensor parallelism: what the chips of a replica tell each other (Megatron-LM, arXiv:1909.08053)."""

import os
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

    def agreed(self, seconds: float, /) -> float:
        """The first chip's: all clocks must go alike."""


class Alone:
    """One chip: nothing to tell."""

    rank, size = 0, 1

    def reduce(self, x: torch.Tensor, /) -> torch.Tensor:
        """Itself."""
        return x

    def gather(self, x: torch.Tensor, /) -> torch.Tensor:
        """Itself."""
        return x

    def agreed(self, seconds: float, /) -> float:
        """Its own."""
        return seconds


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
        parts = torch.empty(self.size * len(x), *x.shape[1:], dtype=x.dtype, device=x.device)
        if len(x):
            dist.all_gather_into_tensor(parts, x.contiguous())
        return parts.view(self.size, *x.shape).movedim(0, -2).flatten(-2)

    def agreed(self, seconds: float, /) -> float:
        """The first chip's."""
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        told = torch.tensor([seconds], dtype=torch.float64, device=device)
        dist.broadcast(told, 0)
        return float(told.item())


def of_environment(device: str) -> tuple[Group, str]:
    """The group that `torchrun` started this process in, and its device; alone without one."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Alone(), device
    gpu = device.startswith("cuda")
    if gpu:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if gpu else "gloo")
    return Chips(), device
