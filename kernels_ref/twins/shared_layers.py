"""Layers that read another layer's rows (KVSharer), and groups of layers whose rows are factored together (xKV)."""

from dataclasses import replace
from itertools import combinations

import torch
from torch import Tensor

from kernels_ref.twins.attention import attend, causal
from kernels_ref.twins.bases import Turned, one_row, principal, with_rows
from kernels_ref.twins.encoding import Coded, Plain
from kernels_ref.twins.one_row import by_head
from kernels_ref.twins.part import part_of
from kernels_ref.twins.sharing import Apart, Encode
from kernels_ref.twins.slots import Slots
from kernels_ref.twins.states import LayerStates, States, rotate
from kvsim.traits.shared_layers import GroupFactors, LayerGroups, TiedLayers

SIMILAR = 0.5  # cosine from which on KVSharer accepts a tie (its repository's threshold)
SAMPLE = 256  # last queries that the acceptance test runs


def dissimilarity(one: LayerStates, other: LayerStates) -> float:
    """KVSharer's: mean Euclidean distance of the keys and of the values of a token and head."""
    pairs = (one.keys, other.keys), (one.values, other.values)
    return sum(float((a - b).norm(dim=-1).mean()) for a, b in pairs) / 2


@part_of(TiedLayers)
class Tied(Apart):
    """KVSharer (arXiv:2410.18517, section 3): pairs of layers are tried from the most unlike caches on.

    The later layer of a pair then reads the earlier one's rows, if the model still says much the same.
    What the model says is its last hidden state in the paper. Here it is the residual stream behind the tied layer's
    attention, which needs no second run of the model; where nobody recorded that, attention's output.
    """

    def prepare(self, states: States, slots: list[Slots]) -> None:
        """Pairs, from a calibration text; among layers that the policy treats alike."""
        seen = self.setting.calibration or states
        self.reads = list(range(len(states.layers)))
        for kind in self.setting.layout.kinds:
            self._tie(kind.index, int(self.trait.share * kind.layers), seen)

    def _tie(self, layers: tuple[int, ...], many: int, seen: States) -> None:
        """Ties `many` of the layers. Where too few pass the test, the rest are those that differ most."""
        ranked = sorted(combinations(layers, 2), key=lambda ij: -dissimilarity(*(seen.layers[x] for x in ij)))
        tied: list[int] = []
        for accepts in (True, False):
            for earlier, later in ranked:
                if len(tied) < many and later not in tied and not (accepts and similar(seen, earlier, later) < SIMILAR):
                    self.reads[later] = earlier
                    tied.append(later)
        for later in sorted(tied):  # an earlier layer may be tied itself
            self.reads[later] = self.reads[self.reads[later]]

    def holder(self, layer: int) -> int:
        """Its pair's earlier one."""
        return self.reads[layer]

    def encoded(self, slots: list[Slots], encode: Encode) -> list[tuple[Slots, list[Tensor]]]:
        """Rows of layers that hold their own; the others read them and store nothing."""
        own = {layer: encode(layer, one) for layer, one in enumerate(slots) if self.reads[layer] == layer}
        return [own[layer] if layer in own else (own[self.reads[layer]][0], []) for layer in range(len(slots))]

    def notes(self) -> tuple[str, ...]:
        """How a tie is tested."""
        return ("ties are accepted by the residual stream behind the tied layer's attention, not by the last layer's",)


def similar(states: States, earlier: int, later: int) -> float:
    """Cosine of the stream behind layer `later` with its own cache and with the cache of layer `earlier`."""
    mine, total = states.layers[later], states.layers[later].keys.shape[1]
    rows = torch.arange(total, device=mine.keys.device)[-SAMPLE:]
    out = []
    for cache in (mine, states.layers[earlier]):
        seen = causal(rows, torch.arange(total, device=mine.keys.device))
        heads = attend(mine.queries[:, -SAMPLE:], cache.keys, cache.values, seen, None)[0]
        out.append(heads.transpose(0, 1).flatten(1))
    if states.projections and mine.before is not None:
        out = [mine.before[-SAMPLE:] + one @ states.projections[later].output.T for one in out]
    return float(torch.cosine_similarity(out[0].flatten(), out[1].flatten(), dim=0))


@part_of(LayerGroups)
class Together(Apart):
    """xKV (arXiv:2503.18893): the prompt's rows of neighbouring layers, as if they were of one layer of many heads."""

    def encoded(self, slots: list[Slots], encode: Encode) -> list[tuple[Slots, list[Tensor]]]:
        """The prompt's once a group, stored with its first layer; generated tokens in each layer."""
        found: list[tuple[Slots, list[Tensor]]] = []
        for start in range(0, len(slots), self.trait.group):
            members = slots[start : start + self.trait.group]
            heads = members[0].position.shape[0]
            read, tensors = encode(start, _stacked([_of_class(one, 0) for one in members]))
            for i, one in enumerate(members):
                prompt = _rows(read, slice(i * heads, (i + 1) * heads))
                made, own = encode(start + i, _of_class(one, 1))
                found.append((_after(prompt, made), (tensors if i == 0 else []) + own))
        return found


def _of_class(slots: Slots, index: int) -> Slots:
    """Slots of a class, which every head has as many of."""
    here = slots.kind == index
    return slots.take(here.nonzero()[:, 1].reshape(len(here), int(here[0].sum())))


_FIELDS = ("position", "key", "value", "weight", "kind")


def _stacked(several: list[Slots]) -> Slots:
    """Heads of all of them, one after the other."""
    return Slots(**{name: torch.cat([getattr(one, name) for one in several]) for name in _FIELDS})


def _rows(slots: Slots, heads: slice) -> Slots:
    """Some heads of them."""
    return Slots(**{name: getattr(slots, name)[heads] for name in _FIELDS})


def _after(first: Slots, then: Slots) -> Slots:
    """Slots in two pieces."""
    return Slots(**{name: torch.cat([getattr(first, name), getattr(then, name)], 1) for name in _FIELDS})


@part_of(GroupFactors)
class Factors(Turned):
    """xKV: keys (before rotary embedding) and values of a group by their largest singular values at the prompt's end.

    A row holds a token's coordinates; the bases (fp16) are the sequence's own. Generated tokens (class 1) are stored as
    they are, all heads in one row.
    """

    def fit(self, states: States) -> None:
        """Bases [width, rank] by the first layer of each group."""
        super().fit(states)
        one = states.layers[0]
        mine = replace(self.trait, heads=one.keys.shape[0])
        ranks = mine.key_dim(one.keys.shape[2]), mine.value_dim(one.values.shape[2])
        self.bases = {
            start: tuple(principal(x[0], rank) for x, rank in zip(rows, ranks, strict=True))
            for start, rows in self._wide(states).items()
        }

    def _wide(self, states: States) -> dict[int, tuple[Tensor, Tensor]]:
        """[1, T, width] keys and values of each group, by its first layer."""
        found = {}
        for start in range(0, len(states.layers), self.trait.group):
            members = states.layers[start : start + self.trait.group]
            keys, values = (torch.cat([getattr(x, name) for x in members]) for name in ("raw_keys", "values"))
            found[start] = one_row(keys), one_row(values)
        return found

    def as_coded(self, states: States, index: int) -> States:
        """Coordinates of the layer's group; of class 1 all heads in one row."""
        if index == 1:
            return with_rows(states, [(one_row(x.keys), one_row(x.values)) for x in states.layers])
        rows = {}
        for start, (key, value) in self._wide(states).items():
            to_key, to_value = self.bases[start]
            rows[start] = key @ to_key, value @ to_value
        return with_rows(states, [rows[i - i % self.trait.group] for i in range(len(states.layers))])

    def code(self, quantizer: Plain, layer: int, key: Tensor, value: Tensor, position: Tensor) -> Coded:
        """Rows of a group, in its first layer; or of generated tokens in any layer."""
        quantizer.heads = quantizer.heads[:1]
        many = len(key)
        if quantizer is self.quantizers[layer, 1]:
            coded = quantizer.code(layer, one_row(key), one_row(value), position[:1])
            return Coded(by_head(coded.key[0], many), by_head(coded.value[0], many), coded.tensors)
        bases = self.bases[layer]
        rows = (x @ basis for x, basis in zip((one_row(self.raw(key, position)), one_row(value)), bases, strict=True))
        coded = quantizer.code(layer, *rows, position[:1])
        back = [by_head(x[0] @ y.half().float().T, many) for x, y in zip((coded.key, coded.value), bases, strict=True)]
        return Coded(rotate(back[0], position, self.turns), back[1], coded.tensors)

    def held(self, layer: int, slots: Slots) -> list[Tensor]:
        """The layer's part of the bases."""
        i, heads = layer % self.trait.group, slots.position.shape[0]
        widths = heads * slots.key.shape[2], heads * slots.value.shape[2]
        bases = self.bases[layer - i]
        return [x[i * wide : (i + 1) * wide].half() for x, wide in zip(bases, widths, strict=True)]
