"""The forward pass of a Llama-shaped decoder over rows of tokens; the cache does the attention between projections."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch.nn.functional import embedding, linear

from kernels_ref.executor.elementwise import add_norm, rotations, silu_mul
from kernels_ref.executor.parallel import Alone, Group
from kernels_ref.executor.shape import Shape
from kernels_ref.executor.weights import Weights


class Attention(Protocol):
    """What a cache does in each layer."""

    def attend(self, layer: int, qkv: torch.Tensor, /) -> torch.Tensor:
        """Rotate and store the rows `qkv` [tokens, ..], and attend: [tokens, heads * dim]."""


Watch = Callable[[int, torch.Tensor, torch.Tensor], None]


class Decoder:
    """Weights and how they are applied. `fused`: by Triton kernels, else in plain Torch.

    `watch`: told a layer, what its projections read and the residual stream there, before attention in each layer.
    """

    watch: Watch | None = None

    def __init__(self, shape: Shape, weights: Weights, positions: int, fused: bool, group: Group | None = None) -> None:
        self.shape, self.weights, self.fused, self.group = shape, weights, fused, group or Alone()
        self.device = weights.norm.device
        self.turns = rotations(shape.rope_theta, shape.dim, positions, str(self.device))

    def next_tokens(
        self, ids: torch.Tensor, attention: Attention, rows: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The likeliest next token of `rows` (default all) of `ids` [tokens], and their logits [rows, vocab]."""
        shape, weights, reduce = self.shape, self.weights, self.group.reduce
        residual, x = self._embedded(ids), None
        for i, layer in enumerate(weights.layers):
            normed = add_norm(x, residual, layer.attention_norm, shape.norm_eps, self.fused)
            if self.watch is not None:
                self.watch(i, normed, residual)
            attended = attention.attend(i, linear(normed, layer.qkv, layer.qkv_bias))
            x = reduce(linear(attended, layer.o))
            normed = add_norm(x, residual, layer.mlp_norm, shape.norm_eps, self.fused)
            inner = silu_mul(linear(normed, layer.gate_up), self.fused)
            x = reduce(linear(inner, layer.down))
        if rows is not None:
            residual = residual.index_select(0, rows)
            x = None if x is None else x.index_select(0, rows)
        normed = add_norm(x, residual, weights.norm, shape.norm_eps, self.fused)
        logits = self.group.gather(linear(normed, weights.head))
        return logits.argmax(-1), logits

    def _embedded(self, ids: torch.Tensor) -> torch.Tensor:
        """Rows of the embedding; each chip holds a share of the vocabulary."""
        if self.group.size == 1:
            return embedding(ids, self.weights.embedding)
        mine = ids - self.group.rank * self.shape.vocab
        inside = (mine >= 0) & (mine < self.shape.vocab)
        found = embedding(torch.where(inside, mine, 0), self.weights.embedding)
        return self.group.reduce(found * inside[:, None])
