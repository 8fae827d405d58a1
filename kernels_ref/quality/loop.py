"""The decoder with a policy's compressed cache in its loop."""

from typing import Protocol

import torch
from torch import Tensor

from kernels_ref.quality.language import Language
from kernels_ref.quality.recorder import layer_states
from kernels_ref.twins.states import LayerStates

BLOCK_TOKENS = 64


class Cache(Protocol):
    """What `kernels_ref.twins.cache.begin` gives."""

    stepwise: bool

    def attend(self, layer: int, new: LayerStates) -> Tensor:
        """Attention of n new tokens [H, n, Dv], which are then in the cache."""


class Loop:
    """Reads what follows a prompt whose cache was compressed; `first` is the position of the next token."""

    def __init__(self, language: Language, cache: Cache, first: int) -> None:
        self._language, self._cache, self._first = language, cache, first
        self._normed = self._before = self._positions = torch.empty(0)

    def read(self, tokens: Tensor) -> Tensor:
        """Logits [n, vocab] behind the next `tokens` [n]: in blocks, or singly where decoding changes the cache."""
        decoder, size = self._language.decoder, 1 if self._cache.stepwise else BLOCK_TOKENS
        found = []
        decoder.watch = self._watch
        try:
            for block in tokens.split(size):
                self._positions = torch.arange(self._first, self._first + len(block), device=block.device)
                found.append(decoder.next_tokens(block, self)[1])
                self._first += len(block)
        finally:
            decoder.watch = None
        return torch.cat(found)

    def attend(self, layer: int, qkv: Tensor, /) -> Tensor:
        """Through the policy's cache."""
        states = layer_states(self._language, qkv, self._positions, self._normed, self._before)
        return self._cache.attend(layer, states).transpose(0, 1).flatten(1)

    def _watch(self, layer: int, normed: Tensor, residual: Tensor) -> None:
        self._normed, self._before = normed, residual.clone()
