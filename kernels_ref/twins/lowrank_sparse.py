"""GEAR: KIVI's codes, low-rank factors of what they miss, and outliers kept apart (arXiv:2403.05527)."""

from math import ceil

import torch
from torch import Tensor

from kernels_ref.twins.bits import pack_each
from kernels_ref.twins.encoding import Coded, Plain, rounded
from kernels_ref.twins.part import part_of
from kernels_ref.twins.tokenwise import Known
from kvsim.traits.lowrank_sparse import LowRankSparse


@part_of(LowRankSparse)
class Corrected(Plain):
    """A prompt is compressed as one block, generated tokens `residual` at a time; younger ones wait whole.

    Of each block `sparse` of the elements are kept apart, half of them the largest and half the smallest of their
    vector: a channel's tokens for keys, a token's channels for values; each vector has the same number or one more.
    Codes have the vector's mean in their place, as in the released code.
    """

    known: Known | None = None
    coded: Coded | None = None

    def code(self, layer: int, key: Tensor, value: Tensor, position: Tensor) -> Coded:
        """Blocks, then the tokens that wait. A prompt's stay as they are."""
        trait, n = self.trait, key.shape[1]
        if self.coded and self.known and self.known.same(key, value, position):
            return self.coded
        block = n if trait.phase == 0 else trait.residual
        whole = n - n % block
        rank = trait.rank if trait.phase == 0 else trait.block_rank
        old_keys, key_tensors = self._blocks(key[:, :whole].transpose(1, 2), block, rank, by_channel=True)
        old_values, value_tensors = self._blocks(value[:, :whole], block, rank, by_channel=False)
        recent = key[:, whole:].half(), value[:, whole:].half()
        read_key = torch.cat([old_keys.transpose(1, 2), recent[0].float()], 1)
        read_value = torch.cat([old_values, recent[1].float()], 1)
        self.coded = Coded(read_key, read_value, (*key_tensors, *value_tensors, *(x for x in recent if x.numel())))
        self.known = Known(key, value, position, ())
        return self.coded

    def _blocks(self, rows: Tensor, block: int, rank: int, by_channel: bool) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Vectors along the last dimension, as read back and as stored: keys [R, D, n], values [R, n, D]."""
        if not rows.numel():
            return rows, ()
        heads, along = len(rows), 2 if by_channel else 1
        parts = torch.stack(rows.split(block, along), 1).flatten(0, 1)  # [R x blocks, vectors, elements]
        apart, at = self._apart(parts)
        dense = parts.scatter(2, at, parts.mean(2, keepdim=True).expand(*at.shape)) if apart.numel() else parts
        codes, scales, minima, read = (
            torch.cat(x, 2)
            for x in zip(*[rounded(x, self.trait.bits) for x in dense.split(self.trait.group, 2)], strict=True)
        )
        missed = parts - read
        if apart.numel():
            missed = missed.scatter(2, at, 0.0)
        factors = self._factors(missed, rank)
        read = read + factors[0].float() @ factors[1].float().transpose(1, 2)
        stored = [pack_each(codes.reshape(heads, -1), self.trait.bits), scales, minima, *factors]
        if apart.numel():
            count = self._count(parts.shape[1], parts.shape[2])
            read = read.scatter(2, at, apart.float())
            stored += [apart[:, count], at[:, count].to(torch.int16)]
        back = torch.cat(read.unflatten(0, (heads, -1)).unbind(1), along)
        return back, tuple(x for x in stored if x.numel())

    def _count(self, vectors: int, elements: int) -> Tensor:
        """[vectors, most]: which of the places that `_apart` gives each vector are in use."""
        total = ceil(self.trait.sparse * vectors * elements)
        each = total // vectors + (torch.arange(vectors) < total % vectors)
        return torch.arange(int(each.max())) < each[:, None]

    def _apart(self, parts: Tensor) -> tuple[Tensor, Tensor]:
        """16-bit elements and places [P, vectors, most], by turns large and small; not in use: the first again."""
        count = self._count(parts.shape[1], parts.shape[2])
        many = count.shape[1]
        if not many:
            return parts[:, :, :0].half(), parts[:, :, :0].long()
        high = parts.topk(-(-many // 2), 2).indices
        low = parts.topk(-(-many // 2), 2, largest=False).indices
        at = torch.stack([high, low], 3).flatten(2)[:, :, :many]
        at = torch.where(count.to(at.device), at, at[:, :, :1])
        return parts.gather(2, at).half(), at

    def _factors(self, missed: Tensor, rank: int) -> tuple[Tensor, Tensor]:
        """[P, vectors, rank] and [P, elements, rank], fp16: `loops` power iterations from random columns."""
        generator = self.setting.generator(self.layer)
        right = torch.rand(missed.shape[2], rank, generator=generator).to(missed).expand(len(missed), -1, -1)
        for _ in range(self.trait.loops if rank else 0):
            right = _orthonormal(right)
            left = missed @ right
            right = missed.transpose(1, 2) @ left
        right = _orthonormal(right) if rank else right
        return (missed @ right).half(), right.half()


def _orthonormal(columns: Tensor) -> Tensor:
    """Of the same shape; columns that were not independent are zero."""
    found = torch.linalg.qr(columns).Q
    return torch.nn.functional.pad(found, (0, columns.shape[2] - found.shape[2]))
