"""CQ: neighbouring channels are one index into a table that k-means finds for their head (arXiv:2405.03917)."""

import torch
from torch import Tensor

from kernels_ref.twins.bits import pack_each
from kernels_ref.twins.kmeans import kmeans, nearest
from kernels_ref.twins.part import part_of
from kernels_ref.twins.tokenwise import Fitted, sampled
from kvsim.traits.codebooks import Coupled

SAMPLE, ROUNDS = 1024, 4


@part_of(Coupled)
class CoupledChannels(Fitted):
    """Tables are the centroids of calibration rows, keys before rotary embedding. A last group is filled with zeros.

    The paper weights k-means by the diagonal of the Fisher matrix; without gradients all tokens count alike here, which
    is the paper's own "uniform" variant.
    """

    def fit(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Tables [Hk, groups, 2^code_bits, channels] of keys and of values, rounded to 16 bits."""
        generator = self.setting.generator(self.layer)
        return self._centroids(key, generator), self._centroids(value, generator)

    def _centroids(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        grouped = self._grouped(sampled(rows, SAMPLE, generator))
        heads, groups, n, channels = grouped.shape
        many = 1 << self.trait.code_bits
        found = kmeans(grouped.reshape(heads * groups, n, channels), many, ROUNDS, generator)
        return found.reshape(heads, groups, many, channels).half().float()

    def _grouped(self, rows: Tensor) -> Tensor:
        """Rows [R, n, D] as [R, groups, n, channels]."""
        c = self.trait.channels
        return torch.nn.functional.pad(rows, (0, -rows.shape[2] % c)).unflatten(2, (-1, c)).transpose(1, 2)

    def rows(self, key: Tensor, value: Tensor, position: Tensor) -> tuple[Tensor, ...]:
        """The nearest centroid of each group of channels."""
        raw = self.raw(key, position)
        (keys, values), heads = self.fitted(raw, value)
        read_key, key_codes = self._coded(raw, keys[heads])
        read_value, value_codes = self._coded(value, values[heads])
        return self.turn(read_key, position), read_value, key_codes, value_codes

    def _coded(self, rows: Tensor, tables: Tensor) -> tuple[Tensor, Tensor]:
        """Rows as read back, and indices [R, n, groups]."""
        grouped = self._grouped(rows)
        heads, groups, n, channels = grouped.shape
        each = tables.reshape(heads * groups, -1, channels)
        index = nearest(grouped.reshape(heads * groups, n, channels), each)
        read = each.gather(1, index[..., None].expand(-1, -1, channels)).reshape(heads, groups, n, channels)
        codes = index.reshape(heads, groups, n).transpose(1, 2)
        return read.transpose(1, 2).flatten(2)[..., : rows.shape[2]], codes

    def stored(self, rows: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Indices alone."""
        return tuple(pack_each(codes, self.trait.code_bits) for codes in rows)

    def notes(self) -> tuple[str, ...]:
        """Of the fit."""
        return (f"CQ: tables learnt from {self.taught_by}, unweighted instead of by Fisher information",)
