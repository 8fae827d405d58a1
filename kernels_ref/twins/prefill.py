"""Prefill: which of a prompt's tokens pass through which layer, and how a decoder reads a prompt that way.

A method acts in one of two ways. Where `in_loop`, its hooks say what each layer computes, and `read_prompt` calls them
in order around whatever computes a layer: a real decoder (tokens that stop have no rows in later layers, and those that
go on are computed without them), or, as `begin` does, the dense model's rows, of which it leaves some out. Elsewhere
`read` makes the rows that caches are begun from (KV Prediction's maps, Finch's chunks) of the dense model's.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from kernels_ref.twins.part import Part, part_of
from kernels_ref.twins.states import LayerStates, States
from kvsim.traits.prefill import Prefill

Layer = Callable[[int, Tensor, Callable[[LayerStates], Tensor | None]], LayerStates]


@part_of(Prefill)
class AllPass(Part):
    """Every token through every layer: the null prefill, and what others override."""

    in_loop = True

    def prepare(self, dense: States) -> None:
        """What the dense model computes for the prompt: it stands in for a draft or auxiliary model."""

    def before(self, tokens: Tensor) -> Tensor | None:
        """Positions, rising, of a prompt's `tokens` [T] that the model reads at all; None: all."""
        return None

    def among(self, layer: int, states: LayerStates) -> Tensor | None:
        """[n] bool: which of a layer's tokens attend, and are attended to, as the prompt is read; None: all.

        Attention gives nothing to the others. `states` have queries, keys and values of the n tokens that reached it.
        """
        return None

    def after(self, layer: int, states: LayerStates, at: Tensor) -> Tensor | None:
        """Indices, rising, of the n tokens that passed a layer (at positions `at` [n]) and go on; None: all."""
        return None

    def read(self, dense: States) -> States:
        """Rows that caches are begun from: of the dense model's, those of the tokens that reached each layer."""

        def run(layer: int, at: Tensor, among: Callable[[LayerStates], Tensor | None]) -> LayerStates:
            whole = dense.layers[layer]
            return whole if len(at) == len(dense) else whole.take(at)

        return read_prompt(self, dense, run) if self.in_loop else dense


def read_prompt(part: AllPass, dense: States, run: Layer) -> States:
    """What each layer computes of a prompt under a method whose `in_loop` is true.

    Args:
        part: the method's, of `Compressed.prefill` or `kernels_ref.twins.part.part(policy.prefill, setting)`.
        dense: the model's own states of the prompt, for its tokens and for methods that need a draft.
        run: run(layer, at, among) computes one layer for the tokens at positions `at` [n], a subset of those that it
            computed for the layer before, and returns their states, [.., n, ..]. Once it has queries, keys and values
            it asks among(states), a mask [n] or None, between which tokens its attention runs.
    """
    part.prepare(dense)
    tokens = dense.tokens
    at = torch.arange(len(dense), device=tokens.device)
    if (chosen := part.before(tokens)) is not None:
        at = chosen
    layers = []
    for layer in range(len(dense.layers)):
        states = run(layer, at, lambda found, i=layer: part.among(i, found))  # type: ignore[misc]
        layers.append(states if len(at) == len(dense) else replace(states, position=at))
        if (on := part.after(layer, states, at)) is not None:
            at = at[on]
    return replace(dense, layers=tuple(layers))


def begun(part: AllPass, states: States) -> States:
    """Rows that caches are begun from; states that were read under the policy are taken as they are."""
    if any(layer.position is not None for layer in states.layers):
        return states
    return part.read(states)
