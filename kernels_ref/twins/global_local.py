"""Sums of attention beside H2O's: EMS's two, Elastic Cache's of a whole layer."""

import torch
from torch import Tensor

from kernels_ref.twins.attention import Attended, by_kv_head, column_sums, last_probabilities
from kernels_ref.twins.part import part_of
from kernels_ref.twins.scorers import Accumulated, Positions
from kernels_ref.twins.slots import Slots
from kernels_ref.twins.states import LayerStates
from kvsim.traits.global_local import GlobalLocal, LayerSums


@part_of(GlobalLocal)
class TwoSums(Positions):
    """EMS (arXiv:2412.08521): mean attention over all queries that see a token, plus that of the newest ones.

    Each is taken as a share of its head's sum, so that both weigh alike (how the paper mixes them, without its code, is
    assumed). While decoding, the local sum is a running mean over as many queries.
    """

    def extra(self, layer: int, states: LayerStates) -> dict[str, Tensor]:
        """Both sums over the query heads of each kv head."""
        heads = states.keys.shape[0]
        shown = last_probabilities(states.queries, states.keys, min(self.trait.window, states.keys.shape[1]))
        whole = by_kv_head(column_sums(states.queries, states.keys), heads)
        return {"sums": whole, "local": by_kv_head(shown.sum(1), heads)}

    def rank(self, layer: int, slots: Slots, states: LayerStates | None) -> Tensor:
        """Their mixture."""
        newest = slots.position.max()
        seen_by = (newest + 1 - slots.position).clamp(min=1)
        return _share(slots.extra["sums"] / seen_by, slots.valid) + _share(slots.extra["local"], slots.valid)

    def stepped(self, layer: int, slots: Slots, new: LayerStates, seen: Attended) -> Slots:
        """Plus this step's."""
        sums, local = slots.extra["sums"], slots.extra["local"]
        now = by_kv_head(seen.probabilities.sum(1), sums.shape[0])
        return slots.with_extra(sums=sums + now, local=local * (1 - 1 / self.trait.window) + now)

    def held(self, layer: int, slots: Slots) -> list[Tensor]:
        """Two fp32 a slot."""
        return [slots.extra[name][slots.valid].float() for name in ("sums", "local")]


def _share(rows: Tensor, valid: Tensor) -> Tensor:
    rows = torch.where(valid, rows, 0.0)
    return rows / rows.sum(1, keepdim=True).clamp(min=1e-30)


@part_of(LayerSums)
class OfLayer(Accumulated):
    """Elastic Cache (arXiv:2407.18121): H2O's sums over all heads of the layer, for one choice."""

    def extra(self, layer: int, states: LayerStates) -> dict[str, Tensor]:
        """The same for each kv head."""
        sums = column_sums(states.queries, states.keys).sum(0)
        return {"sums": sums.expand(states.keys.shape[0], -1)}

    def held(self, layer: int, slots: Slots) -> list[Tensor]:
        """None of them outlives the choice."""
        return []
