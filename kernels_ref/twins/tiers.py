"""Tiers: placements that move rows whole. Layers, shares of bytes, or all rows rest away from the chip."""

from collections.abc import Sequence

import torch
from torch import Tensor

from kernels_ref.twins.part import part_of
from kernels_ref.twins.placement import Held, OnChip, nbytes
from kernels_ref.twins.slots import Slots
from kvsim.traits.chosen_on_host import ChosenOnHost
from kvsim.traits.placement import DRAM, HBM, HostResident
from kvsim.traits.recalled import Recalled
from kvsim.traits.split import FLASH, Split


def of_layers(rows: Held, index: Held, away: Sequence[int], tier: str, own: Held | None = None) -> dict[str, int]:
    """Rows of the layers `away` in `tier`, the others and the index in HBM."""
    parts = [rows[i] for i in away]
    there = nbytes(parts) + nbytes(own or [])
    return {HBM: nbytes(rows) + nbytes(index) - nbytes(parts), tier: there}


@part_of(HostResident)
class ByLayer(OnChip):
    """HeadInfer and layer-wise offload: the first `resident` layers in HBM with all they have, the others away."""

    def rest(self, rows: Held, index: Held, slots: list[Slots]) -> dict[str, int]:
        """Index included."""
        both = [[*one, *other] for one, other in zip(rows, index, strict=True)]
        return of_layers(both, [], range(min(self.trait.resident, len(rows)), len(rows)), self.trait.tier)


@part_of(Recalled)
class Away(OnChip):
    """Rows of all but dense layers in the tier, the index in HBM."""

    def rest(self, rows: Held, index: Held, slots: list[Slots]) -> dict[str, int]:
        """By layer."""
        return of_layers(rows, index, range(min(self.trait.dense_layers, len(rows)), len(rows)), self.trait.tier)


@part_of(ChosenOnHost)
class AllAway(OnChip):
    """A2ATS: rows in host DRAM, the index in HBM."""

    def rest(self, rows: Held, index: Held, slots: list[Slots]) -> dict[str, int]:
        """By layer."""
        return of_layers(rows, index, range(len(rows)), DRAM)


@part_of(Split)
class Cut(OnChip):
    """FlexGen: all bytes end to end, cut by percent."""

    def rest(self, rows: Held, index: Held, slots: list[Slots]) -> dict[str, int]:
        """What is not in HBM is a whole number of bytes, and so is its part in DRAM."""
        flat = _end_to_end([x for both in (rows, index) for layer in both for x in layer])
        cache, many = self.trait.cache, len(flat)
        away = many * cache.away // 100
        dram = away * cache.dram // max(1, cache.away)
        parts = flat.split([many - away, dram, away - dram])
        found = dict(zip((HBM, DRAM, FLASH), (part.nbytes for part in parts), strict=True))
        return {tier: held for tier, held in found.items() if held or tier == HBM}

    def notes(self) -> tuple[str, ...]:
        """Of its three pairs of percentages one is the cache's."""
        return ("FlexGen: percentages of the weights hold no cache bytes",)


def _end_to_end(tensors: list[Tensor]) -> Tensor:
    flat = [x.contiguous().reshape(-1).view(torch.uint8) for x in tensors]
    return torch.cat(flat) if flat else torch.zeros(0, dtype=torch.uint8)
