"""k-means, many problems at once."""

import torch
from torch import Tensor

AT_ONCE = 1 << 18  # distances: few enough to stay in a core's cache


def nearest(points: Tensor, centres: Tensor) -> Tensor:
    """[P, n] int64: of each problem's points [P, n, d] the nearest of its centres [P, k, d]; of equals the first."""
    squares = centres.square().sum(2)[:, None]
    step = max(1, AT_ONCE // max(1, len(points) * centres.shape[1]))
    found = [
        torch.baddbmm(squares, points[:, i : i + step], centres.transpose(1, 2), alpha=-2).min(2).indices
        for i in range(0, points.shape[1], step)
    ]
    return torch.cat(found, 1) if found else points.new_zeros(points.shape[:2], dtype=torch.int64)


def kmeans(points: Tensor, many: int, rounds: int, generator: torch.Generator) -> Tensor:
    """Centres [P, many, d] of points [P, n, d]: Lloyd's rounds from points drawn alike in all problems.

    A centre that lost all its points stays where it was; with fewer points than centres, centres repeat.
    """
    drawn = torch.randperm(points.shape[1], generator=generator)
    start = drawn[torch.arange(many) % len(drawn)].to(points.device)
    centres = points[:, start].clone()
    for _ in range(rounds):
        index = nearest(points, centres)
        sums = torch.zeros_like(centres).scatter_add_(1, index[..., None].expand_as(points), points)
        counts = points.new_zeros(centres.shape[:2]).scatter_add_(1, index, torch.ones_like(points[..., 0]))
        centres = torch.where(counts[..., None] > 0, sums / counts[..., None].clamp(min=1), centres)
    return centres


def levels(values: Tensor, many: int, rounds: int = 25) -> Tensor:
    """k-means of numbers [n]: `many` levels, rising, from evenly spaced quantiles."""
    ordered = values.sort().values.double()
    at = ((torch.arange(many) + 0.5) / many * len(ordered)).long().to(values.device)
    found = ordered[at]
    total = torch.nn.functional.pad(ordered.cumsum(0), (1, 0))
    for _ in range(rounds):
        cuts = torch.searchsorted(ordered, (found[1:] + found[:-1]) / 2)
        ends = torch.cat([cuts.new_zeros(1), cuts, cuts.new_full((1,), len(ordered))])
        counts = ends.diff()
        found = torch.where(counts > 0, (total[ends[1:]] - total[ends[:-1]]) / counts.clamp(min=1), found)
    return found.float()
