"""Low-rank keys, rebuilt and rotated on the way, against float64; full and low-rank values."""

import pytest
import torch
from data import TOLERANCE, poisoned

from kernels_ref.lowrank import decode_lowrank, lowrank_reference, rotary
from kernels_ref.reference import error
from kernels_ref.splits import Split


def check(group, dim, rank, lengths, dtype, device, value_rank=0, split=None, outliers=False):
    g = torch.Generator().manual_seed(rank + max(lengths))
    batch, tokens, kv_heads = len(lengths), max(lengths), 2
    q = torch.randn(batch, kv_heads * group, dim, generator=g)
    latent = torch.randn(batch, tokens, rank, generator=g)
    if outliers:
        latent[..., 2] *= 10
        latent[:, 0] *= 3
    up = torch.randn(kv_heads, rank, dim, generator=g) * rank**-0.5
    v = torch.randn(batch, 1 if value_rank else kv_heads, tokens, value_rank or dim, generator=g)
    q, latent, up, v = (x.to(device, dtype) for x in (q, latent, up, v))
    cos, sin = rotary(tokens + 3, dim, device)
    n = torch.tensor(lengths, dtype=torch.int32, device=device)
    out = torch.full((*q.shape[:2], v.shape[3]), float("nan"), dtype=dtype, device=device)
    decode_lowrank(q, latent, up, cos, sin, v, n, out=poisoned(out), split=split)
    got = decode_lowrank(q, latent, up, cos, sin, v, n, out=out, split=split)
    # keys are rounded to the operand type after rotation: an error that a float64 reference does not make
    assert error(got, lowrank_reference(q, latent, up, cos, sin, v, n)) < 2 * TOLERANCE[dtype]
    assert (got[n == 0] == 0).all()


@pytest.mark.parametrize(("group", "dim", "rank"), [(1, 64, 32), (4, 128, 160), (7, 96, 80), (4, 64, 24)])
def test_shapes(group, dim, rank, dtype, device):
    check(group, dim, rank, [70, 33], dtype, device)


def test_outliers(dtype, device):
    check(4, 64, 64, [100], dtype, device, outliers=True)


@pytest.mark.parametrize("value_rank", [32, 48])
def test_low_rank_values(value_rank, dtype, device):
    check(4, 64, 32, [70, 12], dtype, device, value_rank)


@pytest.mark.parametrize("tokens", [1, 63, 64, 65, 127, 128, 129])
def test_around_block_boundaries(tokens, dtype, device):
    check(4, 64, 32, [tokens, tokens - 1, 0, 1], dtype, device, split=Split(2, 128))


def test_mistakes_are_named(device):
    q = torch.zeros(1, 2, 64, device=device)
    cos, sin = rotary(4, 64, device)
    with pytest.raises(ValueError, match="up must be"):
        decode_lowrank(q, torch.zeros(1, 4, 16), torch.zeros(1, 8, 64), cos, sin, torch.zeros(1, 1, 4, 64), cos)
