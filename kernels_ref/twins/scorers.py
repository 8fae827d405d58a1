"""Scorers: which tokens matter. A rank for each token at the prompt's end, and what each step changes about it."""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d

from kernels_ref.twins.attention import Attended, by_kv_head, column_sums, last_probabilities
from kernels_ref.twins.part import Part, part_of
from kernels_ref.twins.slots import Slots
from kernels_ref.twins.states import LayerStates, States
from kvsim.traits.scorers import AccumulatedScores, KeyScores, LastQuery, Scorer
from kvsim.traits.votes import WindowVotes


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
        sums = column_sums(states.queries, states.keys, self.trait.decay)
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


@part_of(KeyScores)
class KeyNorms(Positions):
    """L2-norm (arXiv:2406.11430): keys of small norm draw attention, and stay."""

    def rank(self, layer: int, slots: Slots, states: LayerStates | None) -> Tensor:
        """Minus the norm."""
        return -slots.key.norm(dim=-1)


@part_of(WindowVotes)
class Votes(Positions):
    """SnapKV (arXiv:2404.14469, section 4): the last queries' attention to what lies before them, summed and pooled."""

    def window(self, prompt: int) -> int:
        """The window of observation."""
        return min(int(self.trait.window), prompt)

    def votes(self, states: LayerStates) -> Tensor:
        """[Hk, T]: sums over the window's queries and the query heads of each kv head."""
        shown = last_probabilities(states.queries, states.keys, self.window(states.keys.shape[1]))
        return by_kv_head(shown.sum(1), states.keys.shape[0])

    def rank(self, layer: int, slots: Slots, states: LayerStates | None) -> Tensor:
        """Votes pooled over neighbours, as released code does (average, kernel `pool`)."""
        assert states is not None, "votes are cast once, at the prompt's end"
        votes = self.votes(states)
        before = votes.shape[1] - self.window(votes.shape[1])
        pool = int(self.trait.pool)
        pooled = (
            avg_pool1d(votes[None, :, :before], pool, 1, pool // 2)[0] if before and pool > 1 else votes[:, :before]
        )
        return torch.cat([pooled[:, :before], votes[:, before:]], 1)
