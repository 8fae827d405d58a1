"""SubGen: rows drawn by their values' norms for attention's numerator, clustered keys for the softmax's sum."""

from dataclasses import replace

import torch
from torch import Tensor

from kernels_ref.twins.attention import Attended
from kernels_ref.twins.encoding import Coded, Plain
from kernels_ref.twins.part import Setting, part_of
from kernels_ref.twins.retention import AllStay, all_of
from kernels_ref.twins.slots import Slots
from kernels_ref.twins.states import LayerStates, States
from kvsim.traits.stream_clusters import KeysAlone, RowsAndKeys, StreamClusters

ROW, KEY = range(2)


@part_of(RowsAndKeys)
class Rows(Plain):
    """Whole rows at 16 bits."""


@part_of(KeysAlone)
class Keys(Plain):
    """16-bit keys; their values are gone."""

    def code(self, layer: int, key: Tensor, value: Tensor, position: Tensor) -> Coded:
        """Zeros for values."""
        stored = key.half()
        return Coded(stored.float(), torch.zeros_like(value), (stored,))


@part_of(StreamClusters)
class Sampled(AllStay):
    """SubGen (arXiv:2402.06082, algorithms 1 and 2), with samples that take no token twice.

    Rows: of tokens older than the newest, those of the highest priority |v|^2 / u, u drawn in (0, 1]; with t the
    highest priority that went, a row stands for max(1, t / |v|^2) rows (priority sampling, Duffield et al. 2007).
    Keys: all tokens that are not rows are clustered; representatives are farthest first (as in the paper's own
    experiments), so that the distance at which a key begins a cluster follows from how many there may be; others are
    drawn from each cluster and share its weight. Of two drawn keys in the fullest cluster one takes the other's weight
    when there is no room for both, in proportion to theirs, so that sums stay right on average.

    Extra rows of slots: `chance`, a drawn row's priority; `lead`, whether a key is a representative (these lie first in
    memory, so that nothing is stored of it).
    """

    stepwise = True

    def __init__(self, trait: StreamClusters, setting: Setting) -> None:
        super().__init__(trait, setting)
        self.draws = [setting.generator(layer) for layer in range(setting.model.layers)]
        self.highest = [torch.zeros(setting.model.kv_heads) for _ in range(setting.model.layers)]

    def end(self, states: States) -> list[Slots]:
        """Of the prompt, at once."""
        return [self._end(i, all_of(layer, states.first)) for i, layer in enumerate(states.layers)]

    def _end(self, layer: int, slots: Slots) -> Slots:
        heads, total = slots.position.shape
        old = max(0, total - self.trait.recent)
        chance = torch.zeros_like(slots.weight)
        chance[:, :old] = self._chances(layer, slots.value[:, :old])
        order = chance[:, :old].argsort(dim=1, descending=True)
        self.highest[layer] = torch.zeros(heads, device=chance.device)
        slots = replace(slots, counted=True).with_extra(chance=chance, lead=torch.zeros_like(chance))
        if old <= self.trait.rows:
            return slots
        self.highest[layer] = chance.gather(1, order[:, self.trait.rows, None])[:, 0]
        others = order[:, self.trait.rows :].sort(1).values
        chance = chance.scatter(1, others, 0.0)
        index, weight, lead = self._clustered(layer, slots.take(others).key)
        weights = torch.zeros_like(chance).scatter(1, others.gather(1, index), weight)
        leads = torch.zeros_like(chance).scatter(1, others.gather(1, index), lead)
        kind = torch.zeros_like(slots.kind).scatter(1, others, KEY)
        stays = (kind == ROW) | (weights > 0)
        slots = replace(slots, kind=kind, weight=torch.where(kind == ROW, 1.0, weights))
        slots = slots.with_extra(chance=chance, lead=leads)
        return slots.take(stays.nonzero()[:, 1].reshape(heads, -1))

    def _chances(self, layer: int, value: Tensor) -> Tensor:
        """[Hk, n]: priorities of rows with values [Hk, n, Dv]."""
        drawn = 1 - torch.rand(value.shape[:2], generator=self.draws[layer])
        return value.square().sum(-1).clamp(min=1e-12) / drawn.to(value.device)

    def _clustered(self, layer: int, keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(which keys [Hk, K] of [Hk, n, D] are stored, for how many each stands, which are representatives)."""
        heads, n = keys.shape[:2]
        many = min(n, int(self.trait.clusters(n)))
        cluster = torch.zeros(heads, n, dtype=torch.int64, device=keys.device)
        near = torch.full((heads, n), torch.inf, device=keys.device)
        leads = torch.zeros(heads, n, dtype=torch.bool, device=keys.device)
        at = torch.zeros(heads, 1, dtype=torch.int64, device=keys.device)
        for i in range(many):
            leads.scatter_(1, at, True)
            apart = (keys - keys.gather(1, at[..., None].expand(-1, -1, keys.shape[2]))).square().sum(-1)
            cluster = torch.where(apart < near, i, cluster)
            near = torch.minimum(near, apart).masked_fill(leads, -1.0)
            at = near.argmax(1, keepdim=True)
        room = min(n, many * (1 + self.trait.samples))
        drawn = torch.rand(heads, n, generator=self.draws[layer], dtype=torch.float64).to(keys.device)
        order = (2.0 * cluster + torch.where(leads, 0.0, 0.5 + drawn)).argsort(dim=1)
        sizes = torch.zeros(heads, many, dtype=torch.int64, device=keys.device).scatter_add(
            1, cluster, torch.ones_like(cluster)
        )
        first = sizes.cumsum(1) - sizes
        place = torch.arange(n, device=keys.device) - first.gather(1, cluster.gather(1, order))
        place = torch.zeros_like(place).scatter(1, order, place)  # of a key among its cluster's, the lead's is 0
        index = (place + drawn).argsort(dim=1)[:, :room].sort(1).values
        own, lead = cluster.gather(1, index), leads.gather(1, index)
        drawn_of = torch.zeros_like(sizes).scatter_add(1, own, (~lead).long())
        weight = ((sizes - 1).gather(1, own) / drawn_of.gather(1, own).clamp(min=1)).float()
        return index, torch.where(lead, 1.0, weight), lead.float()

    def grown(self, layer: int, slots: Slots, new: LayerStates, seen: Attended, context: int) -> Slots:
        """The token that leaves the newest may become a drawn row; what is not one joins the keys."""
        leaves = context - 1 - self.trait.recent
        if leaves < 0:
            return slots
        chance = slots.extra["chance"].clone()
        here = slots.position == leaves
        value = slots.value[here].reshape(len(here), 1, -1)
        chance[here] = self._chances(layer, value)[:, 0]
        slots = slots.with_extra(chance=chance)
        if leaves < self.trait.rows:
            return slots
        lowest, joins = torch.where(chance > 0, chance, torch.inf).min(1)
        self.highest[layer] = torch.maximum(self.highest[layer].to(lowest.device), lowest)
        joins = joins[:, None]
        lead, older = slots.extra["lead"], context - self.trait.recent - self.trait.rows
        slots = replace(slots, kind=slots.kind.scatter(1, joins, KEY))
        slots = slots.with_extra(chance=chance.scatter(1, joins, 0.0))
        keys = slots.kind == KEY
        if bool((lead.sum(1) < min(older, int(self.trait.clusters(older)))).any()):
            far = self._to_leads(slots)[0].masked_fill(~keys | (lead > 0), -torch.inf)
            slots = slots.with_extra(lead=lead.scatter(1, far.argmax(1, keepdim=True), 1.0))
        if int(keys[0].sum()) <= int(self.setting.counts(layer, context)[KEY, 0]):
            return slots
        return self._merged(layer, slots)

    def _to_leads(self, slots: Slots) -> tuple[Tensor, Tensor]:
        """(distance to the nearest representative, which slot that is) [Hk, N]."""
        heads, _, dim = slots.key.shape
        leads = slots.extra["lead"].nonzero()[:, 1].reshape(heads, -1)
        apart, place = torch.cdist(slots.key, slots.key.gather(1, leads[..., None].expand(-1, -1, dim))).min(2)
        return apart, leads.gather(1, place)

    def _merged(self, layer: int, slots: Slots) -> Slots:
        """One key fewer: of two in the fullest cluster one takes the other's weight."""
        heads, n = slots.position.shape
        drawn = (slots.kind == KEY) & (slots.extra["lead"] == 0)
        nearest = self._to_leads(slots)[1]
        fullest = torch.zeros(heads, n, device=drawn.device).scatter_add(1, nearest, drawn.float()).argmax(1)[:, None]
        mine = (nearest == fullest) & drawn
        # the representative is the partner of a key that is alone
        order = torch.where(mine, slots.weight, torch.inf).scatter(1, fullest, 1e30).argsort(dim=1)[:, :2]
        pair = slots.weight.gather(1, order)
        to_lead = order[:, 1:] == fullest
        keeps = torch.rand(heads, 1, generator=self.draws[layer]).to(pair.device) * pair.sum(1, keepdim=True)
        second = to_lead | (keeps >= pair[:, :1])
        goes = torch.where(second, order[:, :1], order[:, 1:])
        stays = torch.where(second, order[:, 1:], order[:, :1])
        slots = replace(slots, weight=slots.weight.scatter(1, stays, pair.sum(1, keepdim=True)))
        left = torch.ones(heads, n, dtype=torch.bool, device=goes.device).scatter(1, goes, False)
        return slots.take(left.nonzero()[:, 1].reshape(heads, n - 1))

    def decoded(self, layer: int, slots: Slots) -> Slots:
        """Values of drawn rows as often as they stand for; the keys' weights are in the softmax's sum."""
        chance = slots.extra["chance"]
        squares = slots.value.square().sum(-1).clamp(min=1e-12)
        times = (self.highest[layer].to(chance.device)[:, None] / squares).clamp(min=1.0)
        return replace(slots, value=slots.value * torch.where(chance > 0, times, 1.0)[..., None])

    def held(self, layer: int, slots: Slots) -> list[Tensor]:
        """An fp32 a slot: a row's priority or a key's weight; the highest priority that went, of each head."""
        each = torch.where(slots.kind == KEY, slots.weight, slots.extra["chance"])
        return [each[slots.valid].float(), self.highest[layer]]

    def notes(self) -> tuple[str, ...]:
        """Where clusters' number comes from."""
        return ("SubGen: as many clusters as the policy says; the distance at which one begins follows",)
