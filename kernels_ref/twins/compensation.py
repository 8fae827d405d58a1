"""RazorAttention's compensation token: all that a head dropped, as one token with its count (arXiv:2407.15891)."""

from dataclasses import replace

import torch
from torch import Tensor

from kernels_ref.twins.fates import Dropped
from kernels_ref.twins.merges import others
from kernels_ref.twins.part import part_of
from kernels_ref.twins.slots import Slots, best
from kvsim.traits.fates import Compensation


@part_of(Compensation)
class Compensated(Dropped):
    """Mean key and mean value of dropped tokens; in the softmax it counts as often as they were (equation 4).

    Its position is that of the first of them. How many they are follows from the lengths, so that nothing more is held.
    """

    def chosen(self, slots: Slots, rank: Tensor, many: Tensor, at_decode: bool) -> Tensor:
        """Among real tokens."""
        return best(rank, many, slots.valid & ~self._stands(slots))

    def _stands(self, slots: Slots) -> Tensor:
        """[Hk, N]: the slots that stand for dropped tokens."""
        return slots.extra["stands"] > 0 if "stands" in slots.extra else torch.zeros_like(slots.valid)

    def taken(self, layer: int, slots: Slots, stay: Tensor, at_decode: bool) -> Slots:
        """Kept slots and the mean of the others, those that it stood for before included."""
        slots = slots.with_extra(stands=self._stands(slots).float())
        kept, gone = slots.take(stay), others(slots, stay)
        if not gone.shape[1]:
            return kept
        lost = slots.take(gone)
        weight = torch.where(lost.valid, lost.weight, 0.0)
        total = weight.sum(1, keepdim=True)
        share = (weight / total.clamp(min=1.0))[..., None]
        position = torch.where(lost.valid, lost.position, torch.iinfo(torch.int64).max).amin(1, keepdim=True)
        one = replace(
            lost.take(torch.zeros_like(gone[:, :1])),
            position=torch.where(total > 0, position, -1),
            key=(lost.key * share).sum(1, keepdim=True),
            value=(lost.value * share).sum(1, keepdim=True),
            weight=total.clamp(min=1.0),
            counted=True,
        )
        one = one.with_extra(stands=(total > 0).float())
        return replace(_joined(kept, one), counted=True)


def _joined(kept: Slots, one: Slots) -> Slots:
    """Slots of both in order of positions, empty ones last."""
    names = ("position", "key", "value", "weight", "kind")
    both = replace(
        kept,
        **{name: torch.cat([getattr(kept, name), getattr(one, name)], 1) for name in names},
        extra={name: torch.cat([rows, one.extra[name]], 1) for name, rows in kept.extra.items()},
    )
    order = torch.where(both.valid, both.position, torch.iinfo(torch.int64).max).argsort(1)
    valid = both.valid.gather(1, order)
    width = int(valid.sum(1).max())
    return both.take(torch.where(valid, order, -1)[:, :width])
