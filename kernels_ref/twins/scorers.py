"""Scorers: which tokens matter. A rank for each token at the prompt's end, and what each step changes about it."""

import torch
from torch import Tensor

from kernels_ref.twins.attention import Attended, by_kv_head, column_sums, last_probabilities
from kernels_ref.twins.part import Part, part_of
from kernels_ref.twins.slots import Slots
from kernels_ref.twins.states import LayerStates, States
from kvsim.traits.scorers import AccumulatedScores, KeyScores, LastQuery, LayerCosine, Scorer


@part_of(Scorer)
class Positions(Part):
    """Newer tokens matter more: the null scorer, and what others override."""

    early = False  # at a step a token goes before attention runs

    def prepare(self, states: States) -> None:
        """Before the prompt's tokens are ranked: what is fitted on `setting.calibration or states`, or drawn."""

    def window(self, prompt: int) -> int:
        """Newest tokens of a prompt that always stay, besides the retention's own."""
        return 0

    def extra(self, layer: int, states: LayerStates) -> dict[str, Tensor]:
        """[Hk, T, ...] by name: what is kept of each of the prompt's tokens."""
        return {}

    def rank(self, layer: int, slots: Slots, states: LayerStates | None) -> Tensor:
        """[Hk, N]: higher stays. `states` are the prompt's at its end, None at a decode step."""
        return slots.position.float()

    def stepped(self, layer: int, slots: Slots, new: LayerStates, seen: Attended) -> Slots:
        """Slots with what one step's attention changes; the token just read is the last."""
        return slots


@part_of(AccumulatedScores)
class Accumulated(Positions):
    """H2O (arXiv:2306.14048, algorithm 1): sums of attention over all queries so far, decayed in A2SF."""

    def extra(self, layer: int, states: LayerStates) -> dict[str, Tensor]:
        """The sums, over the query heads of each kv head."""
        known = self.setting.memory.pop(f"column sums {layer}", None) if self.trait.decay == 1 else None
        sums = column_sums(states.queries, states.keys, self.trait.decay) if known is None else known
        return {"sums": by_kv_head(sums, states.keys.shape[0])}

    def rank(self, layer: int, slots: Slots, states: LayerStates | None) -> Tensor:
        """The sums."""
        return slots.extra["sums"]

    def stepped(self, layer: int, slots: Slots, new: LayerStates, seen: Attended) -> Slots:
        """Plus this step's."""
        if self.trait.at_decode:
            sums = slots.extra["sums"]
            now = by_kv_head(seen.probabilities.sum(1), sums.shape[0])
            return slots.with_extra(sums=sums * self.trait.decay + now)
        return slots

    def held(self, layer: int, slots: Slots) -> list[Tensor]:
        """One fp32 a slot."""
        return [slots.extra["sums"][slots.valid].float()]


@part_of(LastQuery)
class LastQueryMean(Positions):
    """TOVA (arXiv:2401.06104, section 3.2): the newest query's attention, mean over all heads of the layer."""

    def extra(self, layer: int, states: LayerStates) -> dict[str, Tensor]:
        """The last query's, for the choice at the prompt's end; nothing of it is stored."""
        mean = last_probabilities(states.queries, states.keys, 1).mean((0, 1))
        return {"last": mean.expand(states.keys.shape[0], -1)}

    def rank(self, layer: int, slots: Slots, states: LayerStates | None) -> Tensor:
        """As it is now."""
        return slots.extra["last"]

    def stepped(self, layer: int, slots: Slots, new: LayerStates, seen: Attended) -> Slots:
        """This step's in place of it."""
        mean = seen.probabilities.mean((0, 1))
        return slots.with_extra(last=mean.expand(slots.position.shape[0], -1))


@part_of(LayerCosine)
class Newest(Positions):
    """SqueezeAttention measures layers; within one, sinks and the newest tokens stay."""


@part_of(KeyScores)
class KeyProducts(Positions):
    """One pass over the keys: L2-norm (arXiv:2406.11430) keeps small norms, which draw attention.

    Q-Filters (arXiv:2503.02812) keeps large products with the direction in which a head's queries lie: the first right
    singular vector of calibration queries, on the side of their mean.
    """

    def prepare(self, states: States) -> None:
        """The filters [Hk, D] of each layer, fp16 (static bytes), of all queries that share a kv head."""
        known = self.setting.calibration or states
        self.filters = [_filter(x.queries, x.keys.shape[0]) for x in known.layers] if self.trait.filters else []

    def scores(self, layer: int, keys: Tensor) -> Tensor:
        """[Hk, N] of keys [Hk, N, D]."""
        if not self.trait.filters:
            return -keys.norm(dim=-1)
        return torch.einsum("hnd,hd->hn", keys, self.filters[layer].float())

    def extra(self, layer: int, states: LayerStates) -> dict[str, Tensor]:
        """Scores as they are kept."""
        return {"score": self.scores(layer, states.keys)} if self.trait.at_append else {}

    def rank(self, layer: int, slots: Slots, states: LayerStates | None) -> Tensor:
        """Kept scores, or new ones."""
        return slots.extra["score"] if self.trait.at_append else self.scores(layer, slots.key)

    def stepped(self, layer: int, slots: Slots, new: LayerStates, seen: Attended) -> Slots:
        """The new tokens' scores beside the others'."""
        if not self.trait.at_append:
            return slots
        before = slots.extra["score"][:, : -new.keys.shape[1]]
        return slots.with_extra(score=torch.cat([before, self.scores(layer, new.keys)], 1))

    def held(self, layer: int, slots: Slots) -> list[Tensor]:
        """One fp32 a slot, where scores are kept."""
        return [slots.extra["score"][slots.valid]] if self.trait.at_append else []


def _filter(queries: Tensor, kv_heads: int) -> Tensor:
    rows = queries.reshape(kv_heads, -1, queries.shape[-1])
    _, vectors = torch.linalg.eigh(rows.transpose(1, 2) @ rows)  # right singular vectors of the rows, rising
    first = vectors[..., -1]
    side = torch.einsum("hnd,hd->h", rows, first).sign()
    return (first * torch.where(side == 0, 1.0, side)[:, None]).half()
