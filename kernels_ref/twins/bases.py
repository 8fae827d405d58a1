"""Bases of fewer channels: ThinK's dropped ones, MatryoshkaKV's projections, latents over all kv heads of a layer."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from kernels_ref.twins.attention import by_kv_head
from kernels_ref.twins.bits import pack_each
from kernels_ref.twins.encoding import AllChannels, Coded, Plain
from kernels_ref.twins.one_row import by_head, joined
from kernels_ref.twins.part import part_of
from kernels_ref.twins.slots import Slots
from kernels_ref.twins.states import States, rotate
from kernels_ref.twins.tokenwise import Fitted
from kvsim.errors import UserError
from kvsim.traits.bases import ChannelCut, Latent, Projected


def principal(rows: Tensor, rank: int) -> Tensor:
    """[.., D, rank]: orthonormal directions in which rows [.., T, D] have the largest sums of squares, largest first.

    They are the right singular vectors V of the rows X, means included, from the smaller of the two Gram matrices
    (V = X^T U / |X^T U|). Columns beyond min(T, D) are zero: the rows say nothing about them.
    """
    wide = rows.double()
    turned = wide.transpose(-1, -2)
    if wide.shape[-2] < wide.shape[-1]:
        basis = turned @ torch.linalg.eigh(wide @ turned).eigenvectors.flip(-1)
        lengths = basis.norm(dim=-2, keepdim=True)
        basis = basis / torch.maximum(lengths, 1e-9 * lengths.amax(-1, keepdim=True)).clamp(min=1e-30)
    else:
        basis = torch.linalg.eigh(turned @ wide).eigenvectors.flip(-1)
    return pad(basis[..., :rank], (0, max(0, rank - basis.shape[-1]))).to(rows.dtype)


def one_row(rows: Tensor) -> Tensor:
    """Rows [Hk, n, D] as those of one head: [1, n, Hk x D]."""
    return joined(rows)[None]


@part_of(ChannelCut)
class FewerChannels(AllChannels):
    """ThinK (arXiv:2407.21018, section 3.2): key channel j scores |Q[:, j]| |K[:, j]|, the best stay.

    Norms are over the last queries, of all query heads of a kv head, and over all kept keys, once, at the prompt's end.
    """

    def fit(self, states: States) -> None:
        """Squared norms [Hk, D] of the last queries' channels."""
        self.kept: dict[int, Tensor] = {}
        self.loud = [
            by_kv_head(x.queries[:, -self.trait.observed :].square().sum(1), x.keys.shape[0]) for x in states.layers
        ]

    def prepare(self, states: States) -> None:
        """And its quantizers.

        Raises:
            UserError: they are fitted to all channels.
        """
        super().prepare(states)
        if any(isinstance(one, Fitted) for one in self.quantizers.values()):
            name = self.setting.policy.name
            raise UserError(f"policy {name!r}: codes are fitted to all channels, of which ThinK keeps some; no twin")

    def encode(self, layer: int, slots: Slots) -> tuple[Slots, list[Tensor]]:
        """And the mask of each head that has tokens, a bit a channel."""
        if layer not in self.kept:
            self.kept[layer] = self._chosen(layer, slots)
        read, tensors = super().encode(layer, slots)
        mask = torch.zeros_like(self.loud[layer], dtype=torch.uint8).scatter_(1, self.kept[layer], 1)
        return read, [*tensors, pack_each(mask[slots.valid.any(1)], 1)]

    def _chosen(self, layer: int, slots: Slots) -> Tensor:
        """[Hk, kept]: channels that stay, rising."""
        squares = (slots.key.square() * slots.valid[..., None]).sum(1)
        many = self.trait.key_dim(squares.shape[1])
        order = (squares * self.loud[layer]).argsort(dim=1, descending=True, stable=True)
        return order[:, :many].sort(1).values

    def code(self, quantizer: Plain, layer: int, key: Tensor, value: Tensor, position: Tensor) -> Coded:
        """Narrow keys but for the newest, which keep all channels; whole values."""
        old = max(0, key.shape[1] - self.trait.window)
        index = self.kept[layer][quantizer.heads][:, None].expand(-1, old, -1)
        narrow = key[:, :old].gather(2, index)
        none = value[:, :old, :0]
        keys = quantizer.code(layer, narrow, none, position[:, :old]) if old else Coded(narrow, none, ())
        values = quantizer.code(layer, key[..., :0], value, position)
        newest = key[:, old:].half()
        wide = torch.zeros_like(key[:, :old]).scatter_(2, index, keys.key)  # a dropped channel adds nothing to a score
        read = torch.cat([wide, newest.float()], 1)
        return Coded(read, values.value, (*keys.tensors, *values.tensors, newest))


class Turned(AllChannels):
    """Keys are stored as they were before rotary embedding, and turned again when they are read."""

    def fit(self, states: States) -> None:
        """The turns, and bases of a calibration text (of the prompt where there is none)."""
        self.turns = states.turns
        self.learn(self.setting.calibration or states)

    def learn(self, states: States) -> None:
        """Bases."""

    def raw(self, key: Tensor, position: Tensor) -> Tensor:
        """Keys before rotary embedding."""
        return rotate(key, position, self.turns, back=True)


@part_of(Projected)
class OwnCoordinates(Turned):
    """MatryoshkaKV (arXiv:2410.14731): each head's rows in the first coordinates of an orthogonal basis of its own.

    The paper begins with principal components and trains the bases against the model's output from there; here they
    stay the principal components of a calibration text.
    """

    def learn(self, states: States) -> None:
        """[Hk, D, rank] of keys and of values, by layer."""
        self.bases = [
            (
                principal(x.raw_keys, self.trait.key_dim(x.raw_keys.shape[2])),
                principal(x.values, self.trait.value_dim(x.values.shape[2])),
            )
            for x in states.layers
        ]

    def as_coded(self, states: States, index: int) -> States:
        """Coordinates."""
        pairs = zip(states.layers, self.bases, strict=True)
        return with_rows(states, [(x.raw_keys @ key, x.values @ value) for x, (key, value) in pairs])

    def code(self, quantizer: Plain, layer: int, key: Tensor, value: Tensor, position: Tensor) -> Coded:
        """There and back."""
        to_key, to_value = (basis[quantizer.heads] for basis in self.bases[layer])
        coded = quantizer.code(layer, self.raw(key, position) @ to_key, value @ to_value, position)
        wide = rotate(coded.key @ to_key.transpose(1, 2), position, self.turns)
        return Coded(wide, coded.value @ to_value.transpose(1, 2), coded.tensors)

    def notes(self) -> tuple[str, ...]:
        """What is not trained."""
        return ("principal components in place of trained projections; every layer and head keeps the mean width",)


@part_of(Latent)
class NarrowRow(Turned):
    """Eigen Attention (arXiv:2408.05646) and CSKV (arXiv:2409.10593): one narrow row for all kv heads of a layer.

    The narrow space is that of the largest singular values of a calibration text's keys (before rotary embedding) and
    values over all heads. It is the minimum of CSKV's layer-wise objective |X W - X A B|, with A = W V and B = V^T; so
    nothing is left to fine-tune but the calibration text. Released code of Eigen Attention takes one basis for each
    head (of values) or for all (of keys) on Llama, and picks ranks layer by layer; here all have the mean.
    """

    def learn(self, states: States) -> None:
        """[Hk D, rank] of keys and of values, by layer."""
        self.bases = []
        for x in states.layers:
            latent = replace(self.trait, heads=x.keys.shape[0])
            key, value = latent.key_dim(x.keys.shape[2]), latent.value_dim(x.values.shape[2])
            self.bases.append((principal(joined(x.raw_keys), key), principal(joined(x.values), value)))

    def as_coded(self, states: States, index: int) -> States:
        """Narrow rows, as if of one head."""
        pairs = zip(states.layers, self.bases, strict=True)
        return with_rows(states, [(one_row(x.raw_keys) @ key, one_row(x.values) @ value) for x, (key, value) in pairs])

    def code(self, quantizer: Plain, layer: int, key: Tensor, value: Tensor, position: Tensor) -> Coded:
        """Narrow rows of all tokens, and whole ones of the window, which are read where there are any."""
        many, old = len(key), max(0, key.shape[1] - self.trait.window)
        quantizer.heads = quantizer.heads[:1]
        to_key, to_value = self.bases[layer]
        narrow = one_row(self.raw(key, position)) @ to_key, one_row(value) @ to_value
        coded = quantizer.code(layer, *narrow, position[:1])
        keys = rotate(by_head(coded.key[0, :old] @ to_key.T, many), position[:, :old], self.turns)
        values = by_head(coded.value[0, :old] @ to_value.T, many)
        newest = key[:, old:].half(), value[:, old:].half()
        read = torch.cat([keys, newest[0].float()], 1), torch.cat([values, newest[1].float()], 1)
        return Coded(*read, (*coded.tensors, *newest))

    def notes(self) -> tuple[str, ...]:
        """What is not searched or trained."""
        return ("bases are the best for a calibration text's rows over all heads, as wide in every layer",)


def with_rows(states: States, rows: list[tuple[Tensor, Tensor]]) -> States:
    """States with other keys and values in each layer."""
    pairs = zip(states.layers, rows, strict=True)
    layers = tuple(replace(x, keys=key, raw_keys=key, values=value) for x, (key, value) in pairs)
    return replace(states, layers=layers)
