"""Random attention inputs for the kernel tests: plain, and with outlier channels and attention sinks."""

import torch

TOLERANCE = {torch.float16: 2e-3, torch.bfloat16: 1e-2, torch.float8_e4m3fn: 2e-3}


def inputs(batch, kv_heads, group, tokens, dim, dtype, device, kind="plain", seed=0):
    """q [batch, kv_heads * group, dim], k and v [batch, kv_heads, tokens, dim]; fp8 keys get fp16 queries."""
    g = torch.Generator().manual_seed(seed)
    q = torch.randn(batch, kv_heads * group, dim, generator=g)
    k = torch.randn(batch, kv_heads, tokens, dim, generator=g)
    v = torch.randn(batch, kv_heads, tokens, dim, generator=g)
    if kind == "outliers":  # a few channels of K are ten times the rest; token 0 draws most of the attention
        k[..., :3] *= 10
        if tokens:
            k[:, :, 0] = q.view(batch, kv_heads, group, dim).mean(2) * 3
            v[:, :, 0] *= 0.05
    q_dtype = torch.float16 if dtype == torch.float8_e4m3fn else dtype
    return q.to(device, q_dtype), k.to(device).to(dtype), v.to(device).to(dtype)


def poisoned(q):
    """An output of `q`'s shape that holds NaN: what a kernel forgets to write shows."""
    return torch.full_like(q, float("nan"))
