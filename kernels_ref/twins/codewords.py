"""Codewords: the nearest of a codebook stands for a key, and scores tokens (A2ATS, arXiv:2502.12665)."""

import torch
from torch import Tensor

from kernels_ref.twins.by_position import ByPosition
from kernels_ref.twins.choosing import Choosing, grouped, packed, top
from kernels_ref.twins.part import part_of
from kernels_ref.twins.slots import Slots
from kernels_ref.twins.states import LayerStates, States, rotate
from kvsim.traits.chosen_on_host import ChosenOnHost
from kvsim.traits.codewords import Codewords

ITERATIONS = 5


@part_of(Codewords)
class ScoredByCode(Choosing):
    """Codebooks of keys before rotary embedding, by k-means under the mean square of queries (section 3.3).

    E[(q (k - c))^2] = (k - c) E[q q^T] (k - c)^T, so keys are multiplied by a root of the queries' second moment first.
    They are fitted on the calibration text (else the prompt), five iterations; a text of fewer tokens than codewords
    gives its keys. A token's score is that at distance `window`, as if no other counted (section 3.2), summed
    over the heads of a group; the chosen are attended to as the model rotates them.
    """

    def prepare(self, states: States, slots: list[Slots]) -> None:
        """Codebooks, and the prompt's codes."""
        text = self.setting.calibration or states
        self.turns, self._codes = states.turns, [ByPosition() for _ in slots]
        self.books = [self._fitted(i, layer, text.first) for i, layer in enumerate(text.layers)]
        for layer, one in enumerate(slots):
            self.codes(layer, packed(one)[0])

    def _fitted(self, layer: int, states: LayerStates, first: int) -> tuple[Tensor, Tensor]:
        """(codewords [Hk, C, D] under the root, root [Hk, D, D]) of a layer."""
        at = torch.arange(states.keys.shape[1]) + first if states.position is None else states.position + first
        kv_heads = states.keys.shape[0]
        asked = grouped(self._unrotated(states.queries, at), kv_heads).flatten(1, 2)
        moment = asked.transpose(1, 2) @ asked / asked.shape[1]
        ridge = 1e-3 * moment.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] * torch.eye(moment.shape[1])
        root: Tensor = torch.linalg.cholesky(moment + ridge)
        keys = states.raw_keys @ root
        many = min(self.trait.codewords, keys.shape[1])
        start = torch.randperm(keys.shape[1], generator=self.setting.generator(layer))[:many].sort().values
        words = keys[:, start]
        for _ in range(ITERATIONS if many < keys.shape[1] else 0):
            label = _nearest(keys, words)
            sums = torch.zeros_like(words).scatter_add(1, label[..., None].expand(keys.shape), keys)
            sizes = torch.zeros(words.shape[:2]).scatter_add(1, label, torch.ones(label.shape))[..., None]
            words = torch.where(sizes > 0, sums / sizes.clamp(min=1), words)
        return words, root

    def _unrotated(self, rows: Tensor, at: Tensor) -> Tensor:
        return rotate(rows, at, self.turns, back=True)

    def codes(self, layer: int, rows: Slots) -> Tensor:
        """[Hk, N] int64."""
        words, root = self.books[layer]
        return self._codes[layer].of(rows, lambda key, at: _nearest(self._unrotated(key, at) @ root, words))

    def choose(self, layer: int, queries: Tensor, rows: Slots) -> Tensor | None:
        """The best share, and what the chip holds of the first and newest tokens."""
        counts, (words, root) = rows.counts, self.books[layer]
        codes, n = self.codes(layer, rows), queries.shape[1]
        at = int(rows.position.max()) + 1 + torch.arange(n)
        far = torch.full((n,), min(self.trait.window, len(self.turns[0]) - 1))
        asked = rotate(self._unrotated(queries, at.clamp(max=len(self.turns[0]) - 1)), far, self.turns)
        asked = grouped(asked, len(counts)).sum(1)
        scores = torch.linalg.solve_triangular(root, asked.transpose(1, 2), upper=False).transpose(1, 2)
        scores = scores @ words.transpose(1, 2)  # [Hk, n, C]
        scores = scores.gather(2, codes[:, None].expand(-1, n, -1)).masked_fill(~rows.valid[:, None], -torch.inf)
        many = (counts.double() * self.trait.share).ceil().long()
        found = top(scores, many[:, None]) & rows.valid[:, None]
        order = torch.arange(rows.position.shape[1])
        placed = self.setting.policy.placement
        if isinstance(placed, ChosenOnHost):
            held = (order < placed.sinks) | (order >= counts[:, None] - placed.local)
            found |= (held & rows.valid)[:, None]
        return found

    def held(self, layer: int, slots: Slots) -> list[Tensor]:
        """A code a token."""
        rows, _ = packed(slots)
        kind = torch.uint16 if self.trait.code_bytes == 2 else torch.int32
        return [self.codes(layer, rows)[rows.valid].to(kind)]

    def notes(self) -> tuple[str, ...]:
        """The attention itself is the model's."""
        return ("A2ATS: chosen tokens are attended to with the model's own rotary embedding, not a windowed one",)


def _nearest(keys: Tensor, words: Tensor) -> Tensor:
    """[Hk, n]: for each of `keys` [Hk, n, D] the codeword [Hk, C, D] at the least distance."""
    sizes, turned = words.square().sum(2)[:, None], words.transpose(1, 2)
    return torch.cat([torch.baddbmm(sizes, part, turned, alpha=-2).argmin(2) for part in keys.split(256, 1)], 1)
