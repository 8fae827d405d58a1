"""Dropped tokens merged into the nearest kept one, as D2O, EMS, ZeroMerge and Elastic Cache do it."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from kernels_ref.twins.fates import Dropped
from kernels_ref.twins.part import Setting, part, part_of
from kernels_ref.twins.slots import Slots
from kernels_ref.twins.states import States
from kvsim.traits.fates import MergeNearest
from kvsim.traits.merges import MergeCounted, MergeIntoAnchors, MergeLikely, MergeRedundant
from kvsim.traits.profile import Figure

LAYERS = 4  # from which the merged share is measured


@part_of(MergeNearest)
class Nearest(Dropped):
    """Every dropped token is averaged into the kept one whose key has the highest cosine with its own."""

    def __init__(self, trait: MergeNearest, setting: Setting) -> None:
        super().__init__(trait, setting)
        self.lost = self.merged = 0  # dropped tokens so far, and those of them that were merged

    def taken(self, layer: int, slots: Slots, stay: Tensor, at_decode: bool) -> Slots:
        """Kept slots, into which others went."""
        kept, gone = slots.take(stay), others(slots, stay)
        if not gone.shape[1] or (at_decode and not self.trait.at_decode):
            return self.finished(kept)
        lost = slots.take(gone)
        likeness = self.likeness(lost, kept).masked_fill(~kept.valid[:, None], -torch.inf)
        most, into = likeness.max(2)
        joins = lost.valid & self.joins(layer, lost, most)
        self.lost, self.merged = self.lost + int(lost.valid.sum()), self.merged + int(joins.sum())
        mine, theirs = self.weights(kept, lost, most)
        return self.finished(average(kept, lost, into, mine, theirs * joins))

    def finished(self, kept: Slots) -> Slots:
        """What else is to be said of the slots."""
        return kept

    def likeness(self, lost: Slots, kept: Slots) -> Tensor:
        """[Hk, G, M]: cosines of keys."""
        return normalize(lost.key, dim=-1) @ normalize(kept.key, dim=-1).transpose(1, 2)

    def joins(self, layer: int, lost: Slots, most: Tensor) -> Tensor:
        """[Hk, G]: which of the dropped tokens, whose best cosine is `most`, are merged at all."""
        return torch.ones_like(lost.valid)

    def weights(self, kept: Slots, lost: Slots, most: Tensor) -> tuple[Tensor, Tensor]:
        """[Hk, M] of kept and [Hk, G] of dropped tokens in the average."""
        return torch.ones_like(kept.weight), torch.ones_like(lost.weight)


def others(slots: Slots, stay: Tensor) -> Tensor:
    """[Hk, G]: slots in use that are not among `stay` [Hk, M], -1 behind a head's last."""
    heads, n = slots.position.shape
    gone = torch.ones(heads, n + 1, dtype=torch.bool, device=stay.device)
    gone = gone.scatter(1, torch.where(stay >= 0, stay, n), False)[:, :n] & slots.valid
    order = torch.where(gone, torch.arange(n, device=stay.device), n).sort(1).values[:, : int(gone.sum(1).max())]
    return torch.where(order < n, order, -1)


def average(kept: Slots, lost: Slots, into: Tensor, mine: Tensor, theirs: Tensor) -> Slots:
    """Kept slots with weighted means of what went `into` [Hk, G] them; others keep their rows bit for bit."""
    total = mine.scatter_add(1, into, theirs)
    touched = (torch.zeros_like(mine).scatter_add(1, into, theirs) > 0)[..., None]

    def mean(rows: Tensor, more: Tensor) -> Tensor:
        index = into[..., None].expand(more.shape)
        summed = (rows * mine[..., None]).scatter_add(1, index, more * theirs[..., None])
        return torch.where(touched, summed / total[..., None], rows)

    weight = kept.weight.scatter_add(1, into, lost.weight * (theirs > 0))
    return replace(kept, key=mean(kept.key, lost.key), value=mean(kept.value, lost.value), weight=weight)


class Measured(Nearest):
    """A share of the dropped tokens is merged: the profile's figure."""

    def measure(self, states: States) -> Mapping[str, Figure]:
        """At this prompt's end, in a few layers over the depth."""
        retention = part(self.setting.policy.retention, self.setting)
        many = len(states.layers)
        for layer in sorted({round(i * (many - 1) / (LAYERS + 1)) for i in range(1, LAYERS + 1)}):
            retention.end_of(layer, states)
        fate = retention.fate
        if not fate.lost:
            return {}
        name = self.setting.name_of(self.trait.share)
        return {name: Figure((fate.merged / fate.lost,), 0.0, f"the prompt's end, {LAYERS} layers")}


@part_of(MergeLikely)
class AboveThreshold(Measured):
    """D2O (arXiv:2406.13035): those at or above a threshold are merged, with exponentials of cosines for weights."""

    def __init__(self, trait: MergeLikely, setting: Setting) -> None:
        super().__init__(trait, setting)
        self.threshold = [torch.full((setting.model.kv_heads,), torch.nan) for _ in range(setting.model.layers)]

    def joins(self, layer: int, lost: Slots, most: Tensor) -> Tensor:
        """The threshold moves first."""
        before = self.threshold[layer].to(most.device)
        best = torch.where(lost.valid, most, 0.0).sum(1) / lost.valid.sum(1).clamp(min=1)
        now = torch.where(before.isnan(), best, self.trait.pace * best + (1 - self.trait.pace) * before)
        self.threshold[layer] = torch.where(lost.valid.any(1), now, before)
        return most >= now[:, None]

    def weights(self, kept: Slots, lost: Slots, most: Tensor) -> tuple[Tensor, Tensor]:
        """e for the kept token, whose cosine with itself is 1."""
        return torch.full_like(kept.weight, torch.e), most.exp()

    def held(self, layer: int, slots: Slots) -> list[Tensor]:
        """The thresholds."""
        return [self.threshold[layer]]


@part_of(MergeRedundant)
class AmongCandidates(Measured):
    """EMS (arXiv:2412.08521): of the next best tokens those whose key is nearly a kept one; the others are thrown away.

    What a head merges so depends on how redundant its keys are. Sizes are assumed, where no code says them.
    """

    def chosen(self, slots: Slots, rank: Tensor, many: Tensor, at_decode: bool) -> Tensor:
        """The budget's best; the candidates' worst rank is remembered until they are merged."""
        widest = (many * self.trait.candidates).long().clamp(max=rank.shape[1])
        order = torch.where(slots.valid, rank, -torch.inf).sort(1, descending=True).values
        self.least = order.gather(1, (widest - 1).clamp(min=0)[:, None])
        self.rank = rank
        return super().chosen(slots, rank, many, at_decode)

    def taken(self, layer: int, slots: Slots, stay: Tensor, at_decode: bool) -> Slots:
        """With the ranks of what was chosen."""
        return super().taken(layer, slots.with_extra(candidate=self.rank >= self.least), stay, at_decode)

    def joins(self, layer: int, lost: Slots, most: Tensor) -> Tensor:
        """Candidates that are like a kept token."""
        return lost.extra["candidate"] & (most >= self.trait.alike)


@part_of(MergeCounted)
class Counted(Nearest):
    """ZeroMerge (arXiv:2503.10714): weighted means; a slot counts for as many tokens as went into it."""

    def finished(self, kept: Slots) -> Slots:
        """Attention adds the log of weights."""
        return replace(kept, counted=True)

    def weights(self, kept: Slots, lost: Slots, most: Tensor) -> tuple[Tensor, Tensor]:
        """What each stands for."""
        return kept.weight, lost.weight

    def held(self, layer: int, slots: Slots) -> list[Tensor]:
        """An fp32 weight a slot."""
        return [slots.weight[slots.valid].float()]


@part_of(MergeIntoAnchors)
class IntoAnchors(Nearest):
    """Elastic Cache (arXiv:2407.18121): into the kept token nearest in position, first and newest tokens apart."""

    def chosen(self, slots: Slots, rank: Tensor, many: Tensor, at_decode: bool) -> Tensor:
        """At a step the slot goes that lies `distance` before the end of those kept."""
        if not at_decode:
            return super().chosen(slots, rank, many, at_decode)
        at = torch.arange(slots.position.shape[1], device=rank.device)
        least = torch.minimum(many - 1, torch.tensor(self.setting.policy.retention.sinks))
        leaves = torch.maximum(many - self.trait.distance, least)[:, None]
        return super().chosen(slots, torch.where(at == leaves, -1.0, 1.0), many, at_decode)

    def likeness(self, lost: Slots, kept: Slots) -> Tensor:
        """Minus the distance; sinks and the newest token take none in, unless nothing else stays."""
        far = (lost.position[:, :, None] - kept.position[:, None]).abs().float()
        anchors = (kept.position >= self.setting.policy.retention.sinks) & (kept.position < self.setting.prompt - 1)
        return -far - 1e9 * ~anchors[:, None]
