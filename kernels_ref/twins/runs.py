"""Runs of neighbouring tokens with similar keys, each merged into one row: KVMerger."""

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from kernels_ref.twins.fates import Dropped
from kernels_ref.twins.merges import average, others
from kernels_ref.twins.part import part_of
from kernels_ref.twins.slots import Slots
from kvsim.traits.fates import MergeNeighbours


@part_of(MergeNeighbours)
class Runs(Dropped):
    """KVMerger (arXiv:2407.08454, sections 4.1 and 4.2), once, at the prompt's end.

    Neighbours are linked where their keys' cosines are highest, as many as leave the budget's rows: the cosine that
    the paper sets as a threshold follows. The window and sinks stay as they are. A run's pivot draws most attention;
    others count exp(-d^2 / (2 s^2)) beside its 1, d being a key's distance to the pivot's and s the run's mean d by
    the root of 2.
    """

    def chosen(self, slots: Slots, rank: Tensor, many: Tensor, at_decode: bool) -> Tensor:
        """Each run's pivot."""
        assert bool(slots.valid.all()), "runs are formed once, of a whole prompt"
        heads, n = rank.shape
        free = rank < 1e20  # the window's and the sinks' ranks are higher
        likeness = cosine_similarity(slots.key[:, 1:], slots.key[:, :-1], dim=-1)
        likeness = likeness - 10.0 * ~(free[:, 1:] & free[:, :-1])  # those last, if nothing else can be linked
        place = likeness.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        begins = torch.ones(heads, n, dtype=torch.bool, device=rank.device)
        begins[:, 1:] = place >= (n - many.clamp(max=n))[:, None]
        self.run = begins.long().cumsum(1) - 1
        most = torch.full_like(rank, -torch.inf).scatter_reduce(1, self.run, rank, "amax")
        at = torch.arange(n, device=rank.device).expand(heads, -1)
        first = torch.where(rank == most.gather(1, self.run), at, n)
        pivots = torch.full_like(at, n).scatter_reduce(1, self.run, first, "amin")[:, : int(self.run.max()) + 1]
        return torch.where(pivots < n, pivots, -1)

    def taken(self, layer: int, slots: Slots, stay: Tensor, at_decode: bool) -> Slots:
        """Pivots with what their runs add."""
        kept, gone = slots.take(stay), others(slots, stay)
        if not gone.shape[1]:
            return kept
        lost, into = slots.take(gone), self.run.gather(1, gone.clamp(min=0))
        pivots = kept.key.gather(1, into[..., None].expand(lost.key.shape))
        distance = (lost.key - pivots).norm(dim=-1) * lost.valid
        zeros = torch.zeros_like(kept.weight)
        members = zeros.scatter_add(1, into, lost.valid.float()).clamp(min=1)
        mean = (zeros.scatter_add(1, into, distance) / members).gather(1, into).clamp(min=1e-12)
        theirs = (-((distance / mean) ** 2)).exp() * lost.valid
        return average(kept, lost, into, torch.ones_like(kept.weight), theirs)
