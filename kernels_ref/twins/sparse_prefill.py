"""A prompt's attention among its important tokens, as ZipVL reads it (arXiv:2410.08584, section 4.2)."""

import torch
from torch import Tensor

from kernels_ref.twins.part import Setting, part, part_of
from kernels_ref.twins.prefill import AllPass
from kernels_ref.twins.salience import probed
from kernels_ref.twins.states import LayerStates
from kvsim.traits.sparse_prefill import AmongImportant, ProbedSalience


@part_of(AmongImportant)
class Among(AllPass):
    """The fewest tokens that hold the retention's `threshold` of its probes' attention, best mean attention first."""

    def __init__(self, trait: AmongImportant, setting: Setting) -> None:
        super().__init__(trait, setting)
        kept = setting.policy.retention
        self.kept = part(kept, setting) if isinstance(kept, ProbedSalience) else None

    def among(self, layer: int, states: LayerStates) -> Tensor | None:
        """By this layer's own probes."""
        if self.kept is None:
            return None
        total = states.keys.shape[1]
        sums, seen_by = probed(states, self.kept.probes(layer, total).to(states.keys.device))
        held = sums.sort(descending=True).values.cumsum(0)
        many = int((held < self.kept.trait.threshold * sums.sum() * (1 - 1e-6)).sum()) + 1
        chosen = (sums / seen_by).topk(min(many, total)).indices
        return torch.zeros(total, dtype=torch.bool, device=sums.device).scatter(0, chosen, True)
