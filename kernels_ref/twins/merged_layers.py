"""Pairs of layers that store one direction for both: MiniCache."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from kernels_ref.twins.part import Setting, part_of
from kernels_ref.twins.sharing import Apart, Encode
from kernels_ref.twins.slots import Slots, best
from kernels_ref.twins.states import States
from kvsim.traits.merged_layers import MergedPairs
from kvsim.traits.profile import Figure

TOWARDS_LATER = 0.6  # MiniCache's interpolation weight t
THRESHOLD = 0.05  # its retention threshold, a share of the range of angles


def slerp(one: Tensor, other: Tensor, weight: float) -> tuple[Tensor, Tensor]:
    """(directions [.., D] between those of two rows, their angles [..]): spherical interpolation (MiniCache, eq. 3).

    sin((1 - t) a) / sin a of the first and sin(t a) / sin a of the other; straight where a is too small to divide by.
    """
    one, other = (x / x.norm(dim=-1, keepdim=True).clamp(min=1e-12) for x in (one, other))
    angle = torch.atan2((one - other).norm(dim=-1), (one + other).norm(dim=-1)) * 2  # exact where they are nearly equal
    a = angle[..., None]
    even = a.sin().abs() < 1e-4
    sine = torch.where(even, 1.0, a.sin())
    first = torch.where(even, 1 - weight, ((1 - weight) * a).sin() / sine)
    second = torch.where(even, weight, (weight * a).sin() / sine)
    between = first * one + second * other
    return between / between.norm(dim=-1, keepdim=True).clamp(min=1e-12), angle


def unlikeness(one: Slots, other: Slots) -> Tensor:
    """[Hk, N]: angle of the keys of two layers plus angle of their values."""
    return slerp(one.key, other.key, 0)[1] + slerp(one.value, other.value, 0)[1]


@part_of(MergedPairs)
class Pairs(Apart):
    """MiniCache (arXiv:2405.14366, section 3): a token's rows in two neighbouring layers become one direction, and a
    magnitude for each layer. Tokens whose directions differ most stay in both, told by their positions.

    The paper keeps a token by the place of its angle in the range of all angles: within 5 % of that range from the end
    of the unlike, as its text says (code of abdelfattah-lab/xKV takes the other end). Here the tokens there give a
    share, and each head of each pair keeps that share of its tokens, the most unlike first. A token once merged stays
    merged: new unlike tokens are found among those just read.
    """

    def __init__(self, trait: MergedPairs, setting: Setting) -> None:
        super().__init__(trait, setting)
        geo = setting.layout.geo
        paired = [layer for layer in range(setting.model.layers) if trait.label(geo, layer)]
        self.later = dict(zip(paired[::2], paired[1::2], strict=True))
        self.apart: dict[int, tuple[Tensor, int]] = {}  # by first layer: tokens retained, newest position seen

    def measure(self, states: States) -> Mapping[str, Figure]:
        """The share of retained tokens, mean over pairs and heads."""
        at = torch.arange(len(states))
        shares = []
        for first, second in self.later.items():
            far = unlikeness(*(Slots.of(at, states.layers[i].keys, states.layers[i].values) for i in (first, second)))
            low, high = far.min(), far.max()
            shares.append(float((far > high - THRESHOLD * (high - low)).double().mean()))
        if not shares:
            return {}
        source = f"twin, {len(states)} tokens"
        return {self.setting.name_of(self.trait.retained): Figure((sum(shares) / len(shares),), 0.0, source)}

    def encoded(self, slots: list[Slots], encode: Encode) -> list[tuple[Slots, list[Tensor]]]:
        """Merged rows once a pair, stored with its first layer; retained ones, magnitudes and positions in both."""
        found: dict[int, tuple[Slots, list[Tensor]]] = {}
        for layer, one in enumerate(slots):
            if layer in self.later:
                found |= self._pair(layer, slots, encode)
            elif layer not in found:
                found[layer] = encode(layer, one)
        return [found[layer] for layer in range(len(slots))]

    def _pair(self, first: int, slots: list[Slots], encode: Encode) -> dict[int, tuple[Slots, list[Tensor]]]:
        second = self.later[first]
        one, other = slots[first], slots[second]
        kept = self._retained(first, one, unlikeness(one, other))
        key, value = (slerp(a, b, TOWARDS_LATER)[0] for a, b in ((one.key, other.key), (one.value, other.value)))
        merged = replace(one, key=key, value=value, position=torch.where(kept, -1, one.position))
        read, rows = encode(first, merged)
        found = {}
        for layer, own in ((first, one), (second, other)):
            whole, tensors = encode(layer, replace(own, position=torch.where(kept, own.position, -1)))
            sizes = [x.norm(dim=-1).half() for x in (own.key, own.value)]
            back = [x * size.float()[..., None] for x, size in zip((read.key, read.value), sizes, strict=True)]
            mine = replace(
                own,
                key=torch.where(kept[..., None], whole.key, back[0]),
                value=torch.where(kept[..., None], whole.value, back[1]),
            )
            tensors = [*tensors, *(size[merged.valid] for size in sizes), own.position[kept].int()]
            found[layer] = mine, (rows if layer == first else []) + tensors
        return found

    def _retained(self, first: int, slots: Slots, far: Tensor) -> Tensor:
        """[Hk, N]: which tokens both layers store, of each class: those that did, then the most unlike new ones."""
        at = slots.position
        token = at + (torch.arange(len(at), device=at.device)[:, None] << 32)  # of its head
        had, newest = self.apart.get(first, (token[:0, 0], -1))
        rank = far + 10.0 * (at > newest) + 20.0 * torch.isin(token, had)  # two angles are below 10
        kept = torch.zeros_like(slots.valid)
        for index in range(self.setting.policy.retention.classes):
            here = slots.valid & (slots.kind == index)
            chosen = best(rank, (here.sum(1).double() * self.trait.retained).ceil().long(), here)
            kept |= _marked(chosen, at.shape[1])
        self.apart[first] = token[kept], int(at.max())
        return kept


def _marked(index: Tensor, many: int) -> Tensor:
    """[Hk, many]: whether a slot is among `index` [Hk, n], where -1 is none."""
    marks = torch.zeros(len(index), many + 1, dtype=torch.bool, device=index.device)
    return marks.scatter_(1, torch.where(index < 0, many, index), True)[:, :many]
