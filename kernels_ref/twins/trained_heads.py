"""Locret's retaining heads: a small network a layer says from query, key and value how much a token will matter."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kernels_ref.twins.attention import Attended
from kernels_ref.twins.part import part_of
from kernels_ref.twins.probes import last_rows
from kernels_ref.twins.scorers import Positions
from kernels_ref.twins.slots import Slots, best
from kernels_ref.twins.states import LayerStates, States, rotate
from kvsim.traits.chunk_eviction import RetainingHeads
from kvsim.traits.scorers import TrainedHeads

RIDGE = 1e-3  # of the mean square of hidden units


@dataclass(frozen=True)
class Head:
    """Weights [width, hidden] and [hidden, Hk], static bytes; rows become silu(rows @ first) @ second + offset."""

    first: Tensor
    second: Tensor
    offset: Tensor

    def __call__(self, rows: Tensor) -> Tensor:
        """Scores [n, Hk] of rows [n, width]."""
        return torch.nn.functional.silu(rows @ self.first) @ self.second + self.offset


@part_of(TrainedHeads, RetainingHeads)
class Retaining(Positions):
    """Locret (arXiv:2410.01805, sections 3.1 and 3.2): heads predict the largest score that a later query gives a key.

    In the simplest form of its objective: the first layer's weights are drawn, the second's minimize the squared error
    (the paper: smooth L1 and smoothness, gradient steps for both) on the calibration text, whose last 256 queries
    stand for an answer's. The prompt is then read as in chunks: what goes between them is gone.
    """

    def prepare(self, states: States) -> None:
        """Fits the heads."""
        self.turns = states.turns
        text = self.setting.calibration or states
        self.heads = [self._fitted(i, layer) for i, layer in enumerate(text.layers)]

    def _rows(self, layer: LayerStates, start: int) -> Tensor:
        """[n, (H + 2 Hk) D]: queries, keys before rotary embedding, values, of positions `start`, `start` + 1, ..."""
        at = torch.arange(start, start + layer.keys.shape[1], device=layer.keys.device)
        parts = (rotate(layer.queries, at, self.turns, back=True), layer.raw_keys, layer.values)
        return torch.cat([x.transpose(0, 1).flatten(1) for x in parts], 1)

    def _fitted(self, i: int, layer: LayerStates) -> Head:
        rows, target = self._rows(layer, 0), _later(layer)
        scale = rows.square().mean().sqrt().clamp(min=1e-6) * rows.shape[1] ** 0.5
        drawn = torch.randn(rows.shape[1], int(self.trait.hidden), generator=self.setting.generator(i)).to(rows)
        first, offset = drawn / scale, target.mean(0)
        units = torch.nn.functional.silu(rows @ first)
        penalty = RIDGE * len(rows) * units.square().mean()
        if len(rows) < units.shape[1]:  # the smaller of two equal systems
            inner = units @ units.T + penalty * torch.eye(len(rows), device=rows.device)
            second = units.T @ torch.linalg.solve(inner, target - offset)
        else:
            inner = units.T @ units + penalty * torch.eye(units.shape[1], device=rows.device)
            second = torch.linalg.solve(inner, units.T @ (target - offset))
        return Head(first, second, offset)

    def extra(self, layer: int, states: LayerStates) -> dict[str, Tensor]:
        """fp16 scores."""
        return {"retain": self.heads[layer](self._rows(states, 0)).T.half()}

    def rank(self, layer: int, slots: Slots, states: LayerStates | None) -> Tensor:
        """Scores, minus infinity for what a chunk before lost."""
        score = slots.extra["retain"].float()
        kept = self.setting.policy.retention
        budget, total, at = kept.budget.tokens, score.shape[1], slots.position  # type: ignore[attr-defined]
        chunk = kept.limit - budget if kept.limit else total  # type: ignore[attr-defined]
        alive = torch.ones_like(score, dtype=torch.bool)
        for end in range(chunk, total, chunk) if states is not None else ():
            first = torch.where(at >= end - getattr(self.trait, "stabilizers", 0), torch.inf, score)
            stay = best(first, torch.full((len(score),), budget, device=at.device), alive & (at < end))
            alive = torch.zeros(len(score), total + 1, dtype=torch.bool, device=at.device)
            alive = alive.scatter_(1, torch.where(stay < 0, total, stay), True)[:, :total] | (at >= end)
        return score.masked_fill(~alive, -torch.inf)

    def stepped(self, layer: int, slots: Slots, new: LayerStates, seen: Attended) -> Slots:
        """Scores of the new tokens."""
        n = new.keys.shape[1]
        fresh = self.heads[layer](self._rows(new, int(slots.position[0, -n]))).T.half()
        return slots.with_extra(retain=torch.cat([slots.extra["retain"][:, :-n], fresh], 1))

    def held(self, layer: int, slots: Slots) -> list[Tensor]:
        """One fp16 a slot."""
        return [slots.extra["retain"][slots.valid]]

    def notes(self) -> tuple[str, ...]:
        """The fit."""
        return ("retaining heads: first layer drawn, second fitted by ridge regression; rows of a full prefill",)


def _later(layer: LayerStates) -> Tensor:
    """[T, Hk]: the largest score that one of a text's last queries, not before it, gives a key; over query heads."""
    kv_heads, total, dim = layer.keys.shape
    rows = last_rows(total, layer.keys.device)
    scores = layer.queries[:, rows].reshape(kv_heads, -1, dim) @ layer.keys.transpose(1, 2) * dim**-0.5
    scores = scores.reshape(kv_heads, -1, len(rows), total)
    before = torch.arange(total, device=rows.device) > rows[:, None]
    return scores.masked_fill(before, -torch.inf).amax((1, 2)).T
