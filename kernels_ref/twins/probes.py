"""Probes: attention of a few queries over all that comes before them, for methods that tell heads apart beforehand."""

import torch
from torch import Tensor

from kernels_ref.twins.attention import attend, causal
from kernels_ref.twins.states import LayerStates, States

QUERIES = 256  # that speak for a text


def last_rows(total: int, device: torch.device, queries: int = QUERIES) -> Tensor:
    """Positions of a text's last queries."""
    return torch.arange(max(0, total - queries), total, device=device)


def attention(layer: LayerStates, rows: Tensor) -> Tensor:
    """Probabilities [H, n, T] of the queries at `rows` [n]."""
    at = torch.arange(layer.keys.shape[1], device=rows.device)
    return attend(layer.queries[:, rows], layer.keys, layer.keys[..., :1], causal(rows, at), None)[1]


def equal_to(ids: Tensor, tokens: Tensor, rows: Tensor, shift: int = 0) -> Tensor:
    """[n, T]: whether token j - shift, of those before query i, is `ids` [n]: an earlier copy, or what followed one."""
    total = len(tokens)
    at = torch.arange(total, device=tokens.device)
    before = tokens[(at - shift).clamp(min=0)]
    return (before == ids[:, None]) & (at >= shift) & (at < rows[:, None])


def mass_on(shown: Tensor, masks: Tensor) -> Tensor:
    """[H]: attention [H, n, T] within masks [n, T], mean over the queries that have any there; 0 without such."""
    some = masks.any(1)
    if not some.any():
        return shown.new_zeros(shown.shape[0])
    return (shown * masks).sum(2)[:, some].mean(1)


def residual(states: States, i: int, rows: Tensor) -> Tensor | None:
    """[n, hidden]: the residual stream behind a layer's attention at `rows` [n], where states can say."""
    layer = states.layers[i]
    if layer.after is not None:
        return layer.after[rows]
    if layer.before is None or not states.projections:
        return None
    shown = attention(layer, rows)
    out = shown.reshape(layer.values.shape[0], -1, shown.shape[2]) @ layer.values
    out = out.reshape(shown.shape[0], len(rows), -1).transpose(0, 1).flatten(1)
    return layer.before[rows] + out @ states.projections[i].output.T
