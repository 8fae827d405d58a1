"""States of a made-up stack of layers, for tests of bytes and positions: they say nothing about quality."""

import torch

from kernels_ref.executor.elementwise import rotations
from kernels_ref.twins.states import LayerStates, Projections, States, rotate
from kvsim.specs.model import Model


def made_up(model: Model, tokens: int, seed: int = 0) -> States:
    """Smooth random states of `tokens` positions: neighbours and layers resemble each other a little, as text's do."""
    generator = torch.Generator().manual_seed(seed)
    turns = rotations(10_000.0, model.head_dim, tokens + 1, "cpu")
    at = torch.arange(tokens)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    h, hk, dim, hidden = model.heads, model.kv_heads, model.head_dim, model.hidden
    trunk = drawn(tokens, hidden)
    layers, projections = [], []
    for _ in range(model.layers):
        weights = [drawn(n * dim, hidden) * hidden**-0.5 for n in (h, hk, hk)]
        projections.append(Projections(*weights, drawn(hidden, h * dim) * (h * dim) ** -0.5))
        trunk = trunk + 0.3 * drawn(tokens, hidden)
        q, k, v = ((trunk @ w.T).view(tokens, -1, dim).transpose(0, 1) for w in weights)
        after = trunk + 0.1 * drawn(tokens, hidden)
        layers.append(LayerStates(2 * rotate(q, at, turns), rotate(k, at, turns), k, v, trunk, trunk, after))
    ends = (*tuple(range(11, tokens, 11)), tokens)
    ids = torch.randint(0, model.vocab, (tokens,), generator=generator)
    return States(model, ids, tuple(layers), turns, tuple(projections), question=min(8, tokens // 4), sentences=ends)
