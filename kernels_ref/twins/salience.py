"""Salient tokens at more bits than others, found by a few probe queries: ZipCache, and ZipVL's side of the cache."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from kernels_ref.twins.attention import Attended, attend, causal
from kernels_ref.twins.bits import pack_each
from kernels_ref.twins.encoding import Coded, Plain, rounded
from kernels_ref.twins.part import Setting, part_of
from kernels_ref.twins.retention import AllStay, all_of
from kernels_ref.twins.slots import Slots
from kernels_ref.twins.states import LayerStates, States
from kvsim.traits.classes import Salience, SeparableCodes, Uncoded
from kvsim.traits.profile import Figure
from kvsim.traits.sparse_prefill import ProbedSalience

SALIENT, OTHER, NEWEST = range(3)


@part_of(Salience)
class BySalience(AllStay):
    """ZipCache (arXiv:2405.14256, algorithms 2 and 3): all heads of a layer sort tokens alike.

    A token's score is its mean attention over heads and over the probes that see it. Of a prompt, half of the probes
    are the newest queries, half drawn; of generated tokens, half are the last of each `gap`. Each `gap` tokens all rows
    are decoded, sorted by the scores of that gap's probes and coded again.
    """

    stepwise = True

    def __init__(self, trait: Salience, setting: Setting) -> None:
        super().__init__(trait, setting)
        self.read: dict[int, Slots] = {}  # rows as they were read back last

    def probes(self, layer: int, total: int) -> Tensor:
        """Positions, rising, of a prompt's probes."""
        each = max(1, int(self.trait.probes * total / 2))
        return self._probes(layer, total, each, each)

    def _probes(self, layer: int, total: int, newest: int, drawn: int) -> Tensor:
        newest = min(newest, total)
        before = torch.randperm(total - newest, generator=self.setting.generator(layer))[:drawn]
        return torch.cat([before.sort().values, torch.arange(total - newest, total)])

    def end(self, states: States) -> list[Slots]:
        """The prompt is coded whole."""
        found = []
        for i, layer in enumerate(states.layers):
            sums, counts = probed(layer, self.probes(i, len(states)).to(layer.keys.device))
            slots = all_of(layer, states.first)
            found.append(self._sorted(i, slots, (sums / counts).expand(slots.position.shape), len(states)))
        return found

    def grown(self, layer: int, slots: Slots, new: LayerStates, seen: Attended, context: int) -> Slots:
        """The new token waits; what a probe saw is added; a full block is sorted and coded with all others."""
        kind = slots.kind.clone()
        kind[:, -1] = NEWEST
        slots = replace(slots, kind=kind)
        if self._is_probe(context):
            slots = slots.with_extra(sums=slots.extra["sums"] + seen.probabilities.mean((0, 1)))
        if (context - self.setting.prompt) % self.trait.gap:
            return slots
        before = context - self.trait.gap
        asked = [at for at in range(before + 1, context + 1) if self._is_probe(at)]
        counts = torch.tensor([sum(at > position for at in asked) for position in range(before, context)])
        counts = torch.cat([torch.full((before,), len(asked)), counts]).clamp(min=1).to(kind.device)
        old = self.read[layer]
        key, value = (
            torch.cat([was, now[:, was.shape[1] :]], 1) for was, now in ((old.key, slots.key), (old.value, slots.value))
        )
        return self._sorted(layer, replace(slots, key=key, value=value), slots.extra["sums"] / counts, context)

    def _is_probe(self, context: int) -> bool:
        """Whether the query of a generated token, the `context`-th in all, is one."""
        half, place = self.trait.probes / 2, (context - 1 - self.setting.prompt) % self.trait.gap
        drawn = torch.rand(1, generator=self.setting.generator(context)).item() < half
        return bool(drawn or place >= self.trait.gap - max(1, round(half * self.trait.gap)))

    def _sorted(self, layer: int, slots: Slots, score: Tensor, context: int) -> Slots:
        many = int(self.setting.counts(layer, context)[SALIENT, 0])
        chosen = score.argsort(dim=1, descending=True, stable=True)[:, :many]
        kind = torch.full_like(slots.kind, OTHER).scatter(1, chosen, SALIENT)
        return replace(slots, kind=kind).with_extra(sums=torch.zeros_like(score))

    def decoded(self, layer: int, slots: Slots) -> Slots:
        """As they are; the next coding begins from them."""
        self.read[layer] = slots
        return slots

    def held(self, layer: int, slots: Slots) -> list[Tensor]:
        """What the probes gave each token since the last coding, fp32, for all heads together."""
        return [slots.extra["sums"][0]]


def probed(layer: LayerStates, at: Tensor) -> tuple[Tensor, Tensor]:
    """Of a prompt [T]: sums of the attention of the probes `at`, means over all heads, and how many see each token."""
    whole = torch.arange(layer.keys.shape[1], device=at.device)
    seen = causal(at, whole)
    shares = attend(layer.queries[:, at], layer.keys, layer.keys[..., :1], seen, None)[1]
    return shares.mean(0).sum(0), seen[0].sum(0).clamp(min=1)


@part_of(ProbedSalience)
class ByThreshold(BySalience):
    """ZipVL (arXiv:2410.08584, section 4): a layer's important tokens are the fewest that hold `threshold` of the
    attention of the probes; they are chosen by mean scores, as ZipCache's.
    """

    def probes(self, layer: int, total: int) -> Tensor:
        """As many newest as drawn."""
        return self._probes(layer, total, max(1, self.trait.queries // 2), self.trait.queries // 2)

    def measure(self, states: States) -> Mapping[str, Figure]:
        """The share of each layer's tokens."""
        found = []
        for i, layer in enumerate(states.layers):
            sums = probed(layer, self.probes(i, len(states)).to(layer.keys.device))[0].sort(descending=True).values
            held = sums.cumsum(0) >= self.trait.threshold * sums.sum() * (1 - 1e-6)
            found.append((int((~held).sum()) + 1) / len(states))
        name = self.setting.name_of(self.trait.figure)
        return {name: Figure(tuple(min(1.0, share) for share in found), 0.0, "the prompt's probes, by layer")}


@part_of(SeparableCodes)
class Separable(Plain):
    """ZipCache's codes, section 4.1: keys per channel; values per token, once each channel was divided by the root of
    its largest magnitude. A token's scale and minimum serve all kv heads of the layer.
    """

    last: tuple[Tensor, Tensor, Coded] | None = None

    def code(self, layer: int, key: Tensor, value: Tensor, position: Tensor) -> Coded:
        """Rows of all kv heads; those of the last call keep their codes until a block is sorted anew."""
        if self.last is None or not (torch.equal(self.last[0], key) and torch.equal(self.last[1], value)):
            self.last = key, value, self._coded(key, value)
        return self.last[2]

    def _coded(self, key: Tensor, value: Tensor) -> Coded:
        bits, (heads, n, dim) = self.trait.bits, value.shape
        codes, scale, minimum, read = rounded(key.transpose(1, 2), bits)
        factor = value.abs().amax(1, keepdim=True).clamp(min=1e-8).sqrt().half()
        even = (value / factor.float()).transpose(0, 1).reshape(n, -1)
        value_codes, value_scale, value_minimum, value_read = rounded(even, bits)
        by_head = value_codes.reshape(n, heads, dim).transpose(0, 1)
        values = value_read.reshape(n, heads, dim).transpose(0, 1) * factor.float()
        stored = (pack_each(codes.transpose(1, 2), bits), scale, minimum, pack_each(by_head, bits), factor)
        return Coded(read.transpose(1, 2), values, (*stored, value_scale, value_minimum))


@part_of(Uncoded)
class Waiting(Plain):
    """The newest tokens, at 16 bits."""
