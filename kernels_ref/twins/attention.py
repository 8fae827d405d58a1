"""Attention over a padded cache in plain Torch, with its probabilities where somebody wants them."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Attended:
    """What n new queries saw: probabilities [H, n, N] over slots whose tokens are `position` [Hk, N], -1 if empty."""

    probabilities: Tensor
    position: Tensor


def attend(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    visible: Tensor,
    bias: Tensor | None,
    beside: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Outputs [H, n, Dv] and probabilities [H, n, N] of `queries` [H, n, D] over `keys` [Hk, N, D] and `values`.

    `visible` [H or Hk or 1, n, N] says which; `bias` [H or Hk or 1, n or 1, N] is added to scores. `beside`: a term
    that shares the softmax with the slots, as its output [H, n, Dv] and the log of its sum of exponentials [H, n].
    """
    heads, n, dim = queries.shape
    kv_heads, slots = keys.shape[:2]
    grouped = queries.reshape(kv_heads, -1, dim)
    scores = (grouped @ keys.transpose(1, 2)).reshape(heads, n, slots) * dim**-0.5
    if bias is not None:
        scores = scores + by_query_head(bias, heads)
    scores = scores.masked_fill(~by_query_head(visible, heads), -torch.inf)
    probabilities = scores.softmax(-1).nan_to_num(0.0)
    out = probabilities.reshape(kv_heads, -1, slots) @ values
    out = out.reshape(heads, n, values.shape[2])
    if beside is None:
        return out, probabilities
    share = (scores.logsumexp(-1) - beside[1]).sigmoid()[..., None]  # of the slots
    return share * out + (1 - share) * beside[0], share * probabilities


def by_query_head(rows: Tensor, heads: int) -> Tensor:
    """Rows [Hk, ...] repeated for the query heads that share a kv head: [H, ...]."""
    return rows if rows.shape[0] in (1, heads) else rows.repeat_interleave(heads // rows.shape[0], 0)


def by_kv_head(rows: Tensor, kv_heads: int) -> Tensor:
    """Sums of rows [H, ...] over the query heads of a kv head: [Hk, ...]."""
    return rows.reshape(kv_heads, -1, *rows.shape[1:]).sum(1)


def causal(queries: Tensor, keys: Tensor) -> Tensor:
    """[1, n, N]: whether a key position [N] is no later than a query position [n]."""
    return (keys[None, :] <= queries[:, None])[None]


def last_probabilities(queries: Tensor, keys: Tensor, last: int) -> Tensor:
    """Full causal attention [H, last, T] of the last queries of a prompt."""
    total = keys.shape[1]
    at = torch.arange(total, device=keys.device)
    return attend(queries[:, -last:], keys, keys[..., :1], causal(at[-last:], at), None)[1]


def column_sums(queries: Tensor, keys: Tensor, decay: float = 1.0, block: int = 256) -> Tensor:
    """Sums [H, T] over all queries of full causal attention; older queries count decay^age."""
    heads, total, dim = queries.shape
    at = torch.arange(total, device=keys.device)
    sums = torch.zeros(heads, total, device=keys.device)
    for start in range(0, total, block):
        rows = at[start : start + block]
        stop = int(rows[-1]) + 1
        grouped = (queries[:, rows] * dim**-0.5).reshape(keys.shape[0], -1, dim)
        scores = (grouped @ keys[:, :stop].transpose(1, 2)).reshape(heads, len(rows), stop)
        scores[:, :, start:].masked_fill_(at[None, start:stop] > rows[:, None], -torch.inf)
        weights = decay ** (total - 1 - rows).to(scores.dtype)
        sums[:, :stop] += weights @ scores.softmax(-1)
    return sums
