"""LagKV: partitions thinned by how their keys and values spread, relative to the partition that follows."""

import torch
from torch import Tensor

from kernels_ref.twins.attention import Attended
from kernels_ref.twins.part import part_of
from kernels_ref.twins.retention import AllStay
from kernels_ref.twins.slots import Slots
from kernels_ref.twins.states import LayerStates, States
from kvsim.traits.lagged import Lagged


@part_of(Lagged)
class Thinned(AllStay):
    """A partition goes from `lag` to int(ratio x lag) tokens of each head when the one behind it is complete."""

    stepwise = True  # which tokens a query sees depends on where partitions end

    def end(self, states: States) -> list[Slots]:
        """All of the prompt's partitions but the last whole one."""
        return [self._thin(slots, 0, len(states)) for slots in super().end(states)]

    def grown(self, layer: int, slots: Slots, new: LayerStates, seen: Attended, context: int) -> Slots:
        """The partition before the one that is complete now, if one is."""
        if context < self.trait.sinks or (context - self.trait.sinks) % self.trait.lag:
            return slots
        return self._thin(slots, max(0, (context - self.trait.sinks) // self.trait.lag - 2), context)

    def _thin(self, slots: Slots, done: int, context: int) -> Slots:
        """With partitions thinned that can be, of which `done` are by now."""
        trait, heads = self.trait, slots.position.shape[0]
        each, many = int(trait.ratio * trait.lag), (context - trait.sinks) // trait.lag - 1 - done
        if many <= 0:
            return slots
        start = trait.sinks + done * each
        stop = start + (many + 1) * trait.lag
        rows = [x[:, start:stop].reshape(heads, many + 1, trait.lag, -1) for x in (slots.key, slots.value)]
        chosen = (spread(rows[0]) + spread(rows[1])).topk(each, 2).indices.sort(2).values
        chosen = chosen + torch.arange(start, stop - trait.lag, trait.lag, device=chosen.device)[:, None]
        at = torch.arange(slots.position.shape[1], device=chosen.device).expand(heads, -1)
        return slots.take(torch.cat([at[:, :start], chosen.flatten(1), at[:, stop - trait.lag :]], 1))


def spread(rows: Tensor) -> Tensor:
    """[Hk, P, lag] of partitions [Hk, P + 1, lag, D], equations 1 to 3 of arXiv:2504.04704.

    Channels are scaled by minimum and maximum of the next partition; softmax over tokens of their standard deviation.
    """
    low, high = rows[:, 1:].amin(2, keepdim=True), rows[:, 1:].amax(2, keepdim=True)
    scaled = (rows[:, :-1] - low) / (high - low).clamp(min=1e-9)
    return scaled.std(3).softmax(2)
