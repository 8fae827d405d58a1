"""MLA decode against float64: heads, latent widths, block boundaries, splits, empty and one-token rows."""

import pytest
import torch
from data import TOLERANCE, poisoned

from kernels_ref.mla import decode_mla, mla_reference
from kernels_ref.reference import error
from kernels_ref.splits import Split


def check(heads, latent, rope, lengths, dtype, device, split=None, outliers=False):
    g = torch.Generator().manual_seed(heads + max(lengths))
    batch, entries = len(lengths), -(-max(lengths) // 16)
    q = torch.randn(batch, heads, latent + rope, generator=g)
    cache = torch.randn(batch * entries, 16, latent + rope, generator=g)
    if outliers:
        cache[..., 3] *= 20
        cache[..., -5] *= 20
    table = torch.randperm(batch * entries, generator=g).view(batch, entries).int().to(device)
    q, cache = q.to(device, dtype), cache.to(device, dtype)
    n = torch.tensor(lengths, dtype=torch.int32, device=device)
    scale = (latent // 4 + rope) ** -0.5
    out = decode_mla(q, cache, table, n, scale, rope, out=poisoned(q[..., :latent].contiguous()), split=split)
    assert error(out, mla_reference(q, cache, table, n, scale, rope)) < TOLERANCE[dtype]
    assert (out[n == 0] == 0).all()


@pytest.mark.parametrize("heads", [1, 16, 40, 128])
def test_heads(heads, dtype, device):
    check(heads, 64, 16, [50, 20], dtype, device)


@pytest.mark.parametrize("outliers", [False, True])
def test_the_real_width(outliers, dtype, device):
    check(16, 512, 64, [70], dtype, device, outliers=outliers)


@pytest.mark.parametrize("tokens", [1, 15, 16, 17, 31, 32, 33, 63, 64, 65])
def test_around_block_boundaries(tokens, dtype, device):
    check(16, 32, 16, [tokens, tokens - 1, 0, 1], dtype, device, split=Split(2, 64))


def test_mistakes_are_named(device):
    q = torch.zeros(1, 4, 80, device=device)
    with pytest.raises(ValueError, match="powers of two"):
        decode_mla(q, torch.zeros(1, 16, 96, device=device), torch.zeros(1, 1), torch.ones(1), 1.0, 16)
