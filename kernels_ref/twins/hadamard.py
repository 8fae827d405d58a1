"""Walsh-Hadamard rotations."""

from functools import cache

import torch
from torch import Tensor


def largest_block(channels: int) -> int:
    """The largest power of two that divides `channels`."""
    return channels & -channels


@cache
def matrix(block: int) -> Tensor:
    """The orthonormal Hadamard matrix of a power of two (Sylvester's), its own inverse."""
    found = torch.ones(1, 1)
    while len(found) < block:
        found = torch.cat([torch.cat([found, found], 1), torch.cat([found, -found], 1)])
    return found * block**-0.5


def rotated(rows: Tensor, block: int) -> Tensor:
    """Each block of `block` elements of the last dimension, times the matrix; twice is what it was."""
    return (rows.unflatten(-1, (-1, block)) @ matrix(block).to(rows)).flatten(-2)
