"""Attention as its definition reads, in float64 and plain loops: what every kernel is compared with."""

import torch


def attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    lengths: torch.Tensor | None = None,
    scale: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """One query token a sequence over explicit keys and values.

    `q` [batch, heads, dim]; `k` [batch, kv_heads, tokens, dim]; `v` [batch, kv_heads, tokens, value_dim]; query head i
    reads kv head i // (heads // kv_heads). `lengths` counts the valid keys, [batch] or [batch, kv_heads]; None is all.
    `scale` defaults to dim ** -0.5. Returns out [batch, heads, value_dim] and the natural log-sum-exp [batch, heads],
    float64 on `q`'s device; a sequence without keys gives zeros and -inf.
    """
    batch, heads, dim = q.shape
    kv_heads, tokens = k.shape[1], k.shape[2]
    if heads % kv_heads:
        raise ValueError(f"heads must be a multiple of kv_heads = {kv_heads} but got {heads}")
    group = heads // kv_heads
    scale = dim**-0.5 if scale is None else scale
    out = torch.zeros(batch, heads, v.shape[-1], dtype=torch.float64, device=q.device)
    lse = torch.full((batch, heads), float("-inf"), dtype=torch.float64, device=q.device)
    for b in range(batch):
        for head in range(kv_heads):
            n = tokens if lengths is None else int(lengths[b] if lengths.ndim == 1 else lengths[b, head])
            if n == 0:
                continue
            mine = slice(head * group, (head + 1) * group)
            scores = q[b, mine].double() @ k[b, head, :n].double().T * scale
            out[b, mine] = torch.softmax(scores, -1) @ v[b, head, :n].double()
            lse[b, mine] = torch.logsumexp(scores, -1)
    return out, lse


def error(out: torch.Tensor, expected: torch.Tensor) -> float:
    """||out - expected|| / ||expected|| in float64; NaN in `out` gives NaN, which passes no `<`."""
    expected = expected.double()
    return float((out.double() - expected).norm() / expected.norm().clamp_min(1e-30))
