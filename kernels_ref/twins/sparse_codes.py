"""CSR: a row is a sum of a few rows of its layer's dictionary, found by matching pursuit (arXiv:2412.11741)."""

from math import ceil, log2

import torch
from torch import Tensor

from kernels_ref.twins.bits import pack_each
from kernels_ref.twins.kmeans import levels
from kernels_ref.twins.part import part_of
from kernels_ref.twins.tokenwise import Fitted
from kvsim.traits.codebooks import SparseCodes

SAMPLE, ROUNDS, AT_ONCE = 768, 2, 128

Book = tuple[Tensor, Tensor]  # dictionary [n, D] of rows of length 1; levels [atoms, 2^weight_bits] of weights


@part_of(SparseCodes)
class Atoms(Fitted):
    """Keys after rotary embedding, so that queries can meet the dictionary itself; a weight is a level of its atom's.

    The paper trains its dictionary by gradients on what a sum misses. The same objective is lowered here as K-SVD does:
    it begins as calibration rows, and each round moves every atom to where the sums that use it miss least. Dictionary
    and levels are rounded to 16 bits.
    """

    turned = False

    def fit(self, key: Tensor, value: Tensor) -> tuple[Book, Book]:
        """Of keys, and of values."""
        generator = self.setting.generator(self.layer)
        return self._book(key, generator), self._book(value, generator)

    def _book(self, rows: Tensor, generator: torch.Generator) -> Book:
        flat = rows.flatten(0, 1)
        drawn = torch.randperm(len(flat), generator=generator)
        again = torch.arange(self.trait.dictionary) % len(flat)
        noise = 0.1 * (torch.arange(self.trait.dictionary) >= len(flat)).float()  # of atoms that repeat a row
        atoms = flat[drawn[again].to(flat.device)]
        spread = float(atoms.square().mean().sqrt())
        atoms = _unit(atoms + (noise[:, None] * spread * torch.randn(atoms.shape, generator=generator)).to(atoms))
        taught = flat[drawn[:SAMPLE].to(flat.device)]
        weights = taught.new_zeros(len(taught), self.trait.atoms)
        for _ in range(ROUNDS):
            index, weights, left = self._pursued(taught, atoms, None)
            moved = weights[..., None] * (left[:, None] + weights[..., None] * atoms[index])
            sums = torch.zeros_like(atoms).index_add_(0, index.flatten(), moved.flatten(0, 1))
            atoms = torch.where(sums.norm(dim=1, keepdim=True) > 0, _unit(sums), atoms)
        each = [levels(column, 1 << self.trait.weight_bits) for column in weights.T]
        return atoms.half().float(), torch.stack(each).half().float()

    def rows(self, key: Tensor, value: Tensor, position: Tensor) -> tuple[Tensor, ...]:
        """Indices and weights [R, n, atoms]."""
        (keys, values), _ = self.fitted(key, value)
        read_key, *key_codes = self._coded(key, keys)
        read_value, *value_codes = self._coded(value, values)
        return read_key, read_value, *key_codes, *value_codes

    def _coded(self, rows: Tensor, book: Book) -> tuple[Tensor, Tensor, Tensor]:
        """Rows as read back, indices and numbers of levels [R, n, atoms]."""
        flat = rows.flatten(0, 1)
        index, weights, left = self._pursued(flat, *book)
        shape = (*rows.shape[:2], self.trait.atoms)
        return (flat - left).reshape(rows.shape), index.reshape(shape), weights.reshape(shape)

    def _pursued(self, rows: Tensor, atoms: Tensor, book: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        found = [pursued(part, atoms, self.trait.atoms, book) for part in rows.split(AT_ONCE)]
        return (
            torch.cat([x for x, _, _ in found]),
            torch.cat([x for _, x, _ in found]),
            torch.cat([x for *_, x in found]),
        )

    def stored(self, rows: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """A token's atoms, each an index and a weight."""
        wide = ceil(log2(self.trait.dictionary))
        joined = [
            (index << self.trait.weight_bits) | weight for index, weight in zip(rows[::2], rows[1::2], strict=True)
        ]
        return tuple(pack_each(codes, wide + self.trait.weight_bits) for codes in joined)

    def notes(self) -> tuple[str, ...]:
        """Of the fit."""
        return (f"CSR: dictionary learnt from {self.taught_by} by {ROUNDS} rounds of K-SVD, not by gradients",)


def _unit(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-8)


def pursued(rows: Tensor, atoms: Tensor, many: int, book: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Matching pursuit of rows [n, D] in `atoms` [m, D]: indices and weights [n, many], and what is left [n, D].

    With levels `book` [many, k] a weight is its level's number, and the next atom mends what the level missed.
    """
    left, indices, weights = rows, [], []
    for i in range(many):
        index = (left @ atoms.T).abs_().max(1).indices
        chosen = atoms[index]
        weight = (left * chosen).sum(1)
        if book is not None:
            number = (weight[:, None] - book[i]).abs().argmin(1)
            weight = book[i][number]
        left = left - weight[:, None] * chosen
        indices.append(index)
        weights.append(weight if book is None else number)
    return torch.stack(indices, 1), torch.stack(weights, 1), left
