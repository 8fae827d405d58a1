"""VidKV: loud key channels at 2 bits, others at 1 after an FFT over tokens, values at 1.58 (arXiv:2503.16257)."""

from math import ceil

import torch
from torch import Tensor

from kernels_ref.twins.attention import by_kv_head, last_probabilities
from kernels_ref.twins.bits import pack_each, pack_trits
from kernels_ref.twins.encoding import Coded, Plain, rounded
from kernels_ref.twins.part import part_of
from kernels_ref.twins.states import States
from kvsim.traits.video_channels import VideoChannels

WINDOW = 32  # last tokens, whose attention says which tokens are salient


@part_of(VideoChannels)
class ByChannel(Plain):
    """Keys and values per channel in groups of tokens. Loud channels are those of the widest range in the prompt.

    As an early commit of the official repository codes them, 1 bit is a sign and 1.58 bits are a sign or 0 (below half
    the scale); the scale is the mean magnitude of a group. Its mean, which that code leaves in, is taken out here and
    kept as the group's second figure, and the FFT's constant term with it.
    """

    def prepare(self, states: States) -> None:
        """Which channels are loud, and which of the prompt's tokens salient."""
        layer = states.layers[self.layer]
        self.first = states.first
        self.range = layer.keys.amax(1) - layer.keys.amin(1)
        if self.trait.salient:
            seen = last_probabilities(layer.queries, layer.keys, min(WINDOW, len(states))).sum(1)
            self.salience = by_kv_head(seen, len(layer.keys))

    def code(self, layer: int, key: Tensor, value: Tensor, position: Tensor) -> Coded:
        """Whole groups are coded; younger tokens wait."""
        n = key.shape[1]
        coded = n - n % self.trait.residual
        recent = key[:, coded:].half(), value[:, coded:].half()
        if not coded:
            return Coded(recent[0].float(), recent[1].float(), recent)
        read_key, keys = self._keys(key[:, :coded])
        read_value, values = self._values(value[:, :coded], position[:, :coded])
        read = torch.cat([read_key, recent[0].float()], 1), torch.cat([read_value, recent[1].float()], 1)
        return Coded(*read, (*keys, *values, *recent))

    def _grouped(self, rows: Tensor) -> Tensor:
        """Rows [R, n, D] as [R, D, groups, tokens]."""
        return rows.transpose(1, 2).unflatten(2, (-1, self.trait.group))

    def _keys(self, rows: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        n, dim = rows.shape[1:]
        own = self.range.shape[1] == dim  # else a basis made other channels
        wide = self.range[self.heads] if own else rows.amax(1) - rows.amin(1)
        order = wide.argsort(dim=1, descending=True, stable=True)
        many = round(self.trait.anomalous * dim)
        grouped = self._grouped(rows).gather(1, order[:, :, None, None].expand(-1, -1, *self._shape(n)))
        loud, scale, minimum, read = rounded(grouped[:, :many], 2)
        signs, size, mean, back = signed(grouped[:, many:])
        joined = torch.empty_like(grouped).scatter_(
            1, order[:, :, None, None].expand_as(grouped), torch.cat([read, back], 1)
        )
        bits = [x.flatten(1) for x in (loud & 1, loud >> 1, signs)]
        mask = torch.zeros_like(wide, dtype=torch.uint8).scatter_(1, order[:, :many], 1)
        figures = torch.cat([scale, size], 1), torch.cat([minimum, mean], 1)
        stored = pack_each(torch.cat(bits, 1), 1), *figures, pack_each(mask, 1)
        return joined.flatten(2).transpose(1, 2), stored

    def _shape(self, tokens: int) -> tuple[int, int]:
        return tokens // self.trait.group, self.trait.group

    def _values(self, rows: Tensor, position: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        heads, n = rows.shape[:2]
        grouped = self._grouped(rows)
        mean = grouped.mean(3, keepdim=True).half()
        centred = grouped - mean.float()
        scale = centred.abs().mean(3, keepdim=True).half()
        steps = centred / scale.float().clamp(min=1e-8)
        trits = (steps > 0.5).to(torch.int32) - (steps < -0.5).to(torch.int32)
        fours = (steps + 1.5).round().clamp(0, 3)
        salient = self._salient(position)
        at = salient.reshape(heads, 1, *self._shape(n))
        read = torch.where(at, fours - 1.5, trits.float()) * scale.float() + mean.float()
        by_token = [x.flatten(2).transpose(1, 2) for x in (trits + 1, fours.to(torch.int32))]
        stored = [torch.stack([pack_trits(one[~which]) for one, which in zip(by_token[0], salient, strict=True)])]
        if self.trait.salient:
            stored += [pack_each(by_token[1][salient].reshape(heads, -1), 2), pack_each(salient, 1)]
        return read.flatten(2).transpose(1, 2), (*stored, scale, mean)

    def _salient(self, position: Tensor) -> Tensor:
        """[R, n]: ceil(salient x n) of each head's coded tokens, those of the prompt that draw most attention first."""
        chosen = torch.zeros_like(position, dtype=torch.bool)
        if not self.trait.salient:
            return chosen
        score = self.salience[self.heads]
        at = (position - self.first).clamp(0, score.shape[1] - 1)
        here = torch.where(position - self.first < score.shape[1], score.gather(1, at), -1.0)
        many = ceil(position.shape[1] * self.trait.salient)
        return chosen.scatter_(1, here.argsort(dim=1, descending=True, stable=True)[:, :many], True)

    def notes(self) -> tuple[str, ...]:
        """There is no video."""
        return ("VidKV: text stands in for video's tokens",)


def signed(rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Signs of a real Fourier transform along the last dimension: (bits, scale, mean [..., 1], what is read back).

    The transform is orthonormal: the real parts of all frequencies, then the imaginary parts of those that have one.
    """
    n = rows.shape[-1]
    if not rows.numel():
        none = rows[..., :1].half()
        return rows.to(torch.uint8), none, none, rows
    mean = rows.mean(-1, keepdim=True).half()
    found = torch.fft.rfft(rows - mean.float(), norm="ortho")
    pairs = (n - 1) // 2  # frequencies with two parts
    weight = torch.full((n // 2 + 1,), 2.0, device=rows.device).sqrt()
    weight[0] = 1.0
    if n % 2 == 0:
        weight[-1] = 1.0
    real, imaginary = found.real * weight, found.imag[..., 1 : pairs + 1] * weight[1 : pairs + 1]
    flat = torch.cat([real, imaginary], -1)
    scale = (flat[..., 1:].abs().sum(-1, keepdim=True) / (n - 1)).half()
    codes = flat >= 0
    back = torch.where(codes, scale.float(), -scale.float())
    back[..., 0] = 0.0
    parts = torch.complex(back[..., : n // 2 + 1], torch.zeros_like(back[..., : n // 2 + 1]))
    parts.imag[..., 1 : pairs + 1] = back[..., n // 2 + 1 :]
    read = torch.fft.irfft(parts / weight, n=n, norm="ortho") + mean.float()
    return codes.to(torch.uint8), scale, mean, read
