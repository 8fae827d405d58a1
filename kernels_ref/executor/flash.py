"""Prefill attention over rows of several sequences: FlashAttention-2 as Torch ships it, and the same in plain Torch.

A query sees keys up to its own place, counted from the end: query i of n sees keys 0 .. m - n + i of m.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch


@dataclass(frozen=True)
class Runs:
    """Where each sequence's rows begin: `queries` and `keys` [sequences + 1] cumulated; `device` the same, int32."""

    queries: tuple[int, ...]
    keys: tuple[int, ...]
    device: tuple[torch.Tensor, torch.Tensor]


def starts(counts: Sequence[int]) -> tuple[int, ...]:
    """(0, first, first + second, ..)."""
    return (0, *accumulate(counts))


def attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    of: Runs,
    *,
    causal: bool = True,
    window: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output [queries, heads, dim] and natural log-sum-exp [heads, queries] float32.

    `q` [queries, heads, dim], `k` and `v` [keys, kv_heads, dim], rows of any stride. `window`: newest keys that a query
    sees, itself among them.
    """
    if not q.is_cuda:
        return _plain(q, k, v, of, causal, window)
    most = [max(b - a for a, b in pairwise(x)) for x in (of.queries, of.keys)]
    found = torch.ops.aten._flash_attention_forward(
        q,
        k,
        v,
        *of.device,
        *most,
        0.0,
        causal,
        False,
        window_size_left=None if window is None else window - 1,
        window_size_right=None if window is None else 0,
    )
    return found[0], found[1]


def _plain(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, of: Runs, causal: bool, window: int | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """By definition, in float32; a query without keys gives zeros and -inf."""
    group = q.shape[1] // k.shape[1]
    out, lse = torch.zeros_like(q), torch.full((q.shape[1], len(q)), float("-inf"))
    for i in range(len(of.queries) - 1):
        mine, keys = slice(of.queries[i], of.queries[i + 1]), slice(of.keys[i], of.keys[i + 1])
        n, m = mine.stop - mine.start, keys.stop - keys.start
        if not n or not m:
            continue
        rows = q[mine].float().transpose(0, 1)
        key, value = (x[keys].float().transpose(0, 1).repeat_interleave(group, 0) for x in (k, v))
        scores = rows @ key.transpose(1, 2) * q.shape[2] ** -0.5
        place = torch.arange(m - n, m)[:, None]
        seen = torch.ones(n, m, dtype=torch.bool)
        if causal:
            seen &= torch.arange(m) <= place
        if window is not None:
            seen &= torch.arange(m) > place - window
        scores = scores.masked_fill(~seen, float("-inf"))
        lse[:, mine] = torch.logsumexp(scores, -1)
        weights = torch.nan_to_num(torch.softmax(scores, -1))
        out[mine] = (weights @ value).transpose(0, 1).to(q.dtype)
    return out, lse


def merged(parts: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """Attention over several sets of keys as one: outputs [queries, heads, dim] weighted by their log-sum-exps."""
    lse = torch.stack([part[1] for part in parts])
    weight = torch.nan_to_num(torch.softmax(lse, 0)).transpose(1, 2)[..., None]
    return sum(part[0].float() * weight[i] for i, part in enumerate(parts)).to(parts[0][0].dtype)  # type: ignore[union-attr]
