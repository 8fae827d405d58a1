"""RotateKV's basis: keys before rotary embedding, reordered and rotated over several heads (arXiv:2501.16383)."""

import torch
from torch import Tensor

from kernels_ref.twins.encoding import AllChannels, Coded, Plain
from kernels_ref.twins.hadamard import largest_block, rotated
from kernels_ref.twins.part import part_of
from kernels_ref.twins.states import States, rotate
from kvsim.traits.rotations import Hadamard


@part_of(Hadamard)
class Rotated(AllChannels):
    """All heads of a layer are there, in order, and hold the same tokens.

    Channels of a layer are ordered by their sum over the calibration text (released code), then groups of `heads` heads'
    worth of them are rotated. Values are rotated head by head. Where a group is no power of two, as many neighbours are
    rotated together as are.
    """

    def prepare(self, states: States) -> None:
        """The order of channels in each layer."""
        super().prepare(states)
        self.turns = states.turns
        seen = (self.setting.calibration or states).layers
        self.orders = [_joined(layer.raw_keys).sum(0).argsort(stable=True) for layer in seen]

    def code(self, quantizer: Plain, layer: int, key: Tensor, value: Tensor, position: Tensor) -> Coded:
        """Rotated, coded, and turned back."""
        order, heads = self.orders[layer], len(key)
        raw = _joined(rotate(key, position, self.turns, back=True))[:, order]
        coded = quantizer.code(layer, _apart(rotated(raw, self._block(raw.shape[1])), heads), _by_head(value), position)
        read = torch.empty_like(raw)
        read[:, order] = rotated(_joined(coded.key), self._block(raw.shape[1]))
        return Coded(rotate(_apart(read, heads), position, self.turns), _by_head(coded.value), coded.tensors)

    def _block(self, channels: int) -> int:
        """Channels that are rotated together, of a layer's."""
        return min(largest_block(channels), largest_block(self.trait.heads * self.setting.model.head_dim))

    def notes(self) -> tuple[str, ...]:
        """Where heads do not go into groups."""
        model, heads = self.setting.model, self.trait.heads
        block = self._block(model.kv_heads * model.head_dim)
        if block == heads * model.head_dim:
            return ()
        return (f"RotateKV: {block} channels are rotated together, not those of {heads} heads",)


def _joined(rows: Tensor) -> Tensor:
    """Rows [Hk, n, D] as [n, Hk x D]."""
    return rows.transpose(0, 1).flatten(1)


def _apart(rows: Tensor, heads: int) -> Tensor:
    """The way back."""
    return rows.unflatten(1, (heads, -1)).transpose(0, 1)


def _by_head(rows: Tensor) -> Tensor:
    return rotated(rows, largest_block(rows.shape[2]))
