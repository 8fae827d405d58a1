"""What a policy does, in four figures. Each compares with the same model over the full cache, on the same text.

error       mean over layers and query heads of |o - o_full| / |o_full|, Frobenius norms over n queries x D, where
            every layer gets the full model's own queries: errors of one layer do not feed the next
kept_mass   mean over layers, query heads and queries of the full cache's attention probability on tokens that the
            policy let the query read
kl          mean over predicted tokens of KL(full || policy) of the next token, in nats, with the policy in the loop
perplexity  exp of the mean -log p of the text's own next tokens, in the loop
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kernels_ref.quality.recorder import Reading
from kernels_ref.twins.attention import Attended, by_query_head, last_probabilities
from kernels_ref.twins.states import States


@dataclass(frozen=True)
class Scores:
    """The figures of one policy on one text; `error_p90` is the 90th percentile over layers and heads."""

    error: float
    error_p90: float
    kept_mass: float
    kl: float
    perplexity: float
    perplexity_full: float


def relative_errors(outputs: Sequence[Tensor], full: Sequence[Tensor]) -> Tensor:
    """[L, H] of outputs [H, n, Dv] by layer."""
    each = [(a - b).norm(dim=(1, 2)) / b.norm(dim=(1, 2)) for a, b in zip(outputs, full, strict=True)]
    return torch.stack(each)


def masses(prompt: States, new: Reading) -> list[Tensor]:
    """Full attention's probabilities [H, n, T] of new queries over all positions so far, by layer."""
    found = []
    for before, now in zip(prompt.layers, new.states.layers, strict=True):
        keys = torch.cat([before.keys, now.keys], 1)
        found.append(last_probabilities(now.queries, keys, now.queries.shape[1]))
    return found


def mass_read(full: Tensor, seen: Attended) -> Tensor:
    """[H, n]: of the full probabilities [H, n, T] of these queries, what lies on positions that they read."""
    position, heads = seen.position, full.shape[0]
    read = (seen.probabilities > 0) & by_query_head(position >= 0, heads)[:, None]
    at = by_query_head(position.clamp(min=0), heads)[:, None].expand(read.shape)
    return (full.gather(2, at) * read).sum(2)


def divergence(full: Tensor, policy: Tensor) -> float:
    """Mean KL(full || policy) of logits [n, vocab], nats."""
    p, q = full.log_softmax(-1), policy.log_softmax(-1)
    return float((p.exp() * (p - q)).sum(-1).mean())


def log_probabilities(logits: Tensor, following: Tensor) -> Tensor:
    """[n]: log p of the tokens that follow, [n], under logits [n, vocab]."""
    return logits.log_softmax(-1).gather(1, following[:, None])[:, 0]


def perplexity(logits: Tensor, following: Tensor) -> float:
    """exp(mean -log p) of the tokens that follow."""
    return float((-log_probabilities(logits, following).mean()).exp())
