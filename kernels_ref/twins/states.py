"""What a decoder's layers give for some positions of a text: the tensors that policies compress and attend with."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kvsim.specs.model import Model


@dataclass(frozen=True)
class Projections:
    """A layer's weights, [outputs, inputs]: of queries, keys, values and of attention's output."""

    query: Tensor
    key: Tensor
    value: Tensor
    output: Tensor


@dataclass(frozen=True)
class LayerStates:
    """One layer's tensors over T positions, float32.

    Attributes:
        queries [H, T, D], keys [Hk, T, D]: after rotary embedding. raw_keys: keys before it.
        values: [Hk, T, Dv].
        hidden: [T, hidden], what the projections read (after the norm). before: the residual stream at the layer's
            start, after: with attention's output added (both [T, hidden]; None where nobody recorded them).
        position: [T] of its rows, rising, where only some of a prompt's tokens reached the layer; None: all did.
    """

    queries: Tensor
    keys: Tensor
    raw_keys: Tensor
    values: Tensor
    hidden: Tensor | None = None
    before: Tensor | None = None
    after: Tensor | None = None
    position: Tensor | None = None

    def slice(self, start: int, stop: int) -> "LayerStates":
        """Positions `start` to `stop`, counted from the first that is here."""
        return _rows(self, slice(start, stop))

    def take(self, index: Tensor) -> "LayerStates":
        """Rows `index` [n], rising, each at its position still."""
        at = torch.arange(self.keys.shape[1], device=self.keys.device) if self.position is None else self.position
        return _rows(replace(self, position=at), index)

    def join(self, after: "LayerStates") -> "LayerStates":
        """These positions and those that follow."""
        by_head = ("queries", "keys", "raw_keys", "values")
        parts = {name: torch.cat([getattr(self, name), getattr(after, name)], 1) for name in by_head}
        for name in ("hidden", "before", "after", "position"):
            both = getattr(self, name), getattr(after, name)
            parts[name] = None if any(part is None for part in both) else torch.cat(both)
        return LayerStates(**parts)


def _rows(layer: LayerStates, which: slice | Tensor) -> LayerStates:
    parts = {name: getattr(layer, name)[:, which] for name in ("queries", "keys", "raw_keys", "values")}
    for name in ("hidden", "before", "after", "position"):
        whole = getattr(layer, name)
        parts[name] = None if whole is None else whole[which]
    return LayerStates(**parts)


@dataclass(frozen=True)
class States:
    """All layers of one sequence over positions `first`, `first` + 1, ...

    Attributes:
        tokens: [T] ids, int64.
        model: its spec. projections: weights by layer (empty where no method needs them). turns: cosines and sines
            [positions, D / 2] of rotary embedding.
        question: how many of the last tokens ask about those before them; 0 where nobody says.
        sentences: [S] ends of sentences, exclusive, rising, the last is T (empty: nobody says).
    """

    model: Model
    tokens: Tensor
    layers: tuple[LayerStates, ...]
    turns: tuple[Tensor, Tensor]
    projections: tuple[Projections, ...] = ()
    first: int = 0
    question: int = 0
    sentences: tuple[int, ...] = ()

    def __len__(self) -> int:
        return int(self.tokens.shape[0])

    def slice(self, start: int, stop: int) -> "States":
        """Positions `start` to `stop`, counted from the first that is here."""
        return replace(
            self,
            tokens=self.tokens[start:stop],
            layers=tuple(layer.slice(start, stop) for layer in self.layers),
            first=self.first + start,
            sentences=tuple(end - start for end in self.sentences if start < end <= stop),
        )


def rotate(rows: Tensor, positions: Tensor, turns: tuple[Tensor, Tensor], back: bool = False) -> Tensor:
    """Rotary embedding of rows [..., N, D] at `positions` [..., N] (halves paired, as in Llama); `back` undoes it."""
    cosines, sines = (table[positions] for table in turns)
    if back:
        sines = -sines
    half = rows.shape[-1] // 2
    low, high = rows[..., :half], rows[..., half:]
    return torch.cat([low * cosines - high * sines, high * cosines + low * sines], -1)
