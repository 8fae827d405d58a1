"""PyramidInfer, the cache: what its prefill let reach a layer stays, generated tokens are thinned in blocks."""

import torch

from kernels_ref.twins.attention import Attended
from kernels_ref.twins.part import part_of
from kernels_ref.twins.retention import AllStay
from kernels_ref.twins.slots import Slots, best
from kernels_ref.twins.states import LayerStates
from kvsim.traits.pyramid import PyramidKept


@part_of(PyramidKept)
class Thinned(AllStay):
    """PyramidInfer (arXiv:2405.12532): of each block of generated tokens those stay, for all heads of a layer, to which
    the block's last query attends most (mean over heads), and that query's own token. Which tokens of a prompt reach a
    layer is up to the prefill.
    """

    stepwise = True

    def grown(self, layer: int, slots: Slots, new: LayerStates, seen: Attended, context: int) -> Slots:
        """At the end of a block, its best."""
        if (context - self.setting.prompt) % self.trait.every:
            return slots
        score = seen.probabilities.mean((0, 1)).expand(slots.position.shape).clone()
        score[:, -1] = torch.inf
        rank = torch.where(slots.position < context - self.trait.every, torch.inf, score)
        many = self.setting.counts(layer, context)[0].to(rank.device)
        return slots.take(best(rank, many, slots.valid))
