"""Tokens coded by themselves: groups of channels with a scale and a minimum, or block floating point."""

import torch
from torch import Tensor

from kernels_ref.twins.bits import pack_each
from kernels_ref.twins.encoding import Coded, Plain, rounded
from kernels_ref.twins.part import part_of
from kernels_ref.twins.states import States
from kvsim.traits.quantizers import BlockFloat, TokenQuantizer


@part_of(TokenQuantizer)
class TokenGroups(Plain):
    """Keys and values per token. The tokens of largest activations (attention sinks, arXiv:2501.16383) stay whole.

    An activation is the largest element of a token's residual stream in any layer. Of tokens behind the prompt only
    those that fill up a short one are whole.
    """

    def prepare(self, states: States) -> None:
        """How large each token's activations are."""
        self.first = states.first
        if isinstance(self.previous, TokenGroups):
            self.activations = self.previous.activations
        else:
            self.activations = torch.zeros(len(states), device=states.tokens.device)
            for layer in states.layers if self.trait.sinks else ():
                stream = layer.hidden if layer.before is None else layer.before
                if stream is not None:
                    self.activations = torch.maximum(self.activations, stream.abs().amax(1))

    def code(self, layer: int, key: Tensor, value: Tensor, position: Tensor) -> Coded:
        """Codes of all but the sinks, then those whole, and which they are."""
        if not self.trait.sinks:
            (read_key, keys), (read_value, values) = self._coded(key), self._coded(value)
            return Coded(read_key, read_value, (*keys, *values))
        whole = self._sinks(position)
        read_key, read_value = key.half().float(), value.half().float()
        stored: list[Tensor] = []
        for rows, read in ((key, read_key), (value, read_value)):
            others, tensors = self._coded(rows[~whole].reshape(len(rows), -1, rows.shape[2]))
            read[~whole] = others.flatten(0, 1)
            stored += [*tensors, rows[whole].half()]
        return Coded(read_key, read_value, (*stored, whole.nonzero()[:, 1].to(torch.int32)))

    def _sinks(self, position: Tensor) -> Tensor:
        """[R, n]: as many of each head's tokens as stay whole."""
        at = (position - self.first).clamp(0, len(self.activations) - 1)
        beyond = position - self.first >= len(self.activations)
        score = torch.where(beyond, -position.float(), self.activations[at])
        order = score.argsort(dim=1, descending=True, stable=True)[:, : self.trait.sinks]
        return torch.zeros_like(position, dtype=torch.bool).scatter_(1, order, True)

    def _coded(self, rows: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Rows [R, n, D] as read back, and as stored; a last group may be narrower."""
        trait = self.trait
        each = [rounded(part, trait.bits, trait.clip) for part in rows.split(trait.group, 2)]
        codes, scales, minima, read = (torch.cat(x, 2) for x in zip(*each, strict=True))
        return read, (pack_each(codes, trait.bits), scales, minima)


@part_of(BlockFloat)
class Blocks(Plain):
    """Mantissas of a sign and `bits` - 1 bits, and the exponent of each block's largest element (arXiv:2403.20137).

    Channels are ordered by how loud they are on the calibration text, so that loud ones share blocks; the order is part
    of the projections' weights and takes no bytes.
    """

    def prepare(self, states: States) -> None:
        """The orders of channels [Hk, D]."""
        seen = (self.setting.calibration or states).layers[self.layer]
        self.orders = [rows.abs().mean(1).argsort(dim=1, stable=True) for rows in (seen.keys, seen.values)]

    def code(self, layer: int, key: Tensor, value: Tensor, position: Tensor) -> Coded:
        """Block by block."""
        read, stored = [], []
        for rows, order in zip((key, value), self.orders, strict=True):
            if not rows.shape[2]:
                read.append(rows)
                continue
            fits = order.shape[1] == rows.shape[2]  # not where a basis made other channels
            alike = order[self.heads] if fits else torch.arange(rows.shape[2], device=rows.device).expand(len(rows), -1)
            index = alike[:, None].expand_as(rows)
            each = [self._floated(part) for part in rows.gather(2, index).split(self.trait.block, 2)]
            codes, exponents, back = (torch.cat(x, 2) for x in zip(*each, strict=True))
            read.append(torch.empty_like(rows).scatter_(2, index, back))
            stored += [pack_each(codes, self.trait.bits), exponents]
        return Coded(read[0], read[1], tuple(stored))

    def _floated(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of blocks [R, n, b]: mantissas as codes above 0, exponents biased by 127 [R, n, 1] uint8, and read back."""
        top = (1 << self.trait.bits - 1) - 1
        exponent = torch.frexp(rows.abs().amax(2, keepdim=True)).exponent.clamp(-126, 127)
        scale = torch.ldexp(torch.ones_like(rows[..., :1]), exponent - self.trait.bits + 1)
        mantissa = (rows / scale).round().clamp(-top, top)
        return (mantissa + top).to(torch.int32), (exponent + 127).to(torch.uint8), mantissa * scale
