"""A prompt as a policy's prefill reads it: tokens that stop have no rows in later layers, others go on without them."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import embedding, linear, scaled_dot_product_attention

from kernels_ref.executor.elementwise import add_norm, silu_mul
from kernels_ref.quality.language import Language
from kernels_ref.quality.recorder import layer_states
from kernels_ref.twins.part import Setting, part
from kernels_ref.twins.prefill import AllPass, read_prompt
from kernels_ref.twins.states import LayerStates, States
from kvsim.traits.policy import Policy

_HOOKS = ("before", "among", "after")
Among = Callable[[LayerStates], Tensor | None]


def read_under(
    language: Language, dense: States, policy: Policy, seed: int = 0, calibration: States | None = None
) -> States:
    """The prompt's states under a policy; those of the full cache, `dense`, where its prefill lets every token pass."""
    method = part(policy.prefill, Setting(policy, dense.model, len(dense), seed, calibration))
    if not method.in_loop or all(getattr(type(method), hook) is getattr(AllPass, hook) for hook in _HOOKS):
        return dense
    return read_prompt(method, dense, _Layers(language, dense.tokens).run)


class _Layers:
    """The decoder, layer by layer, over ever fewer of the tokens."""

    def __init__(self, language: Language, tokens: Tensor) -> None:
        self._language, self._at = language, torch.arange(len(tokens), device=tokens.device)
        self._residual, self._x = embedding(tokens, language.decoder.weights.embedding), None

    def run(self, layer: int, at: Tensor, among: Among) -> LayerStates:
        """One layer for the tokens at positions `at`, which are some of those that the layer before had."""
        shape, weights = self._language.shape, self._language.decoder.weights.layers[layer]
        rows = torch.searchsorted(self._at, at)
        x = None if self._x is None else self._x[rows]
        self._residual, self._at = self._residual[rows], at
        normed = add_norm(x, self._residual, weights.attention_norm, shape.norm_eps, fused=False)
        qkv = linear(normed, weights.qkv, weights.qkv_bias)
        states = layer_states(self._language, qkv, at, normed, self._residual.clone())
        attended = linear(_attended(states, among(states)).transpose(0, 1).flatten(1), weights.o)
        normed = add_norm(attended, self._residual, weights.mlp_norm, shape.norm_eps, fused=False)
        self._x = linear(silu_mul(linear(normed, weights.gate_up), fused=False), weights.down)
        return states


def _attended(states: LayerStates, among: Tensor | None) -> Tensor:
    """Causal attention [H, n, Dv]; with a mask [n] only between its tokens, and nothing for the others."""
    n, share = states.queries.shape[1], states.queries.shape[0] // states.keys.shape[0]
    keys, values = (rows.repeat_interleave(share, 0)[None] for rows in (states.keys, states.values))
    if among is None:
        return scaled_dot_product_attention(states.queries[None], keys, values, is_causal=True)[0]
    seen = torch.ones(n, n, dtype=torch.bool, device=keys.device).tril() & among
    found = scaled_dot_product_attention(states.queries[None], keys, values, attn_mask=seen)[0]
    return torch.where(among[:, None], found, 0.0)
