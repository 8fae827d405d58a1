"""RotateKV's basis: keys before rotary embedding, reordered and rotated over several heads (arXiv:2501.16383)."""

import torch
from torch import Tensor

from kernels_ref.twins.encoding import AllChannels, Coded, Plain
from kernels_ref.twins.hadamard import largest_block, rotated
from kernels_ref.twins.one_row import by_head, joined
from kernels_ref.twins.part import part_of
from kernels_ref.twins.states import States, rotate
from kvsim.traits.rotations import Hadamard


@part_of(Hadamard)
class Rotated(AllChannels):
    """All heads of a layer are there, in order, and hold the same tokens.

    Channels of a layer are ordered by their sum over the calibration text (released code), then as many as `heads`
    heads have are rotated together. Values are rotated head by head. Where a group is no power of two, the largest
    block that divides it is rotated.
    """

    def prepare(self, states: States) -> None:
        """The order of channels in each layer."""
        super().prepare(states)
        self.turns = states.turns
        seen = (self.setting.calibration or states).layers
        self.orders = [joined(layer.raw_keys).sum(0).argsort(stable=True) for layer in seen]

    def code(self, quantizer: Plain, layer: int, key: Tensor, value: Tensor, position: Tensor) -> Coded:
        """Rotated, coded, and turned back."""
        order, heads = self.orders[layer], len(key)
        raw = joined(rotate(key, position, self.turns, back=True))[:, order]
        coded = quantizer.code(
            layer, by_head(rotated(raw, self._block(raw.shape[1])), heads), _rotated_heads(value), position
        )
        read = torch.empty_like(raw)
        read[:, order] = rotated(joined(coded.key), self._block(raw.shape[1]))
        return Coded(rotate(by_head(read, heads), position, self.turns), _rotated_heads(coded.value), coded.tensors)

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


def _rotated_heads(rows: Tensor) -> Tensor:
    return rotated(rows, largest_block(rows.shape[2]))
