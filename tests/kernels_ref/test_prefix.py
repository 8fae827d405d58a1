"""Shared prefixes against float64: block boundaries, tall and short tiles, empty and one-token suffixes, fp8."""

import pytest
import torch
from data import TOLERANCE, inputs, poisoned

from kernels_ref import pages
from kernels_ref.configs import Config
from kernels_ref.prefix import decode_shared
from kernels_ref.reference import attention, error

SMALL = Config(block_n=32, warps=4, stages=2)


def check(prefix, suffix, dtype, device, group=4, dim=64, kind="outliers", prefix_config=Config(32, 4, 2, block_m=16)):
    """Attention over one prefix and own suffixes of these lengths, prefix and suffixes in one pool of pages."""
    longest = max(suffix)
    q, k, v = inputs(len(suffix), 2, group, prefix + longest, dim, dtype, device, kind, seed=prefix)
    k.view(torch.uint8)[:, :, :prefix] = k.view(torch.uint8)[:1, :, :prefix].clone()
    v.view(torch.uint8)[:, :, :prefix] = v.view(torch.uint8)[:1, :, :prefix].clone()
    g = torch.Generator()
    parts = []
    for x in (k, v):
        g.manual_seed(4)
        own, table = pages.scatter(x[:, :, prefix:], 16, g)
        shared, prefix_table = pages.scatter(x[:1, :, :prefix], 16, g)
        parts.append(torch.cat([own.view(torch.uint8), shared.view(torch.uint8)]).view(dtype))
    n = torch.tensor(suffix, dtype=torch.int32, device=device)
    tokens = torch.tensor([prefix], dtype=torch.int32, device=device)
    options = {"config": SMALL, "prefix_config": prefix_config, "out": poisoned(q)}
    out = decode_shared(q, *parts, prefix_table[0] + len(own), tokens, table, n, **options)
    assert error(out, attention(q, k, v, n + prefix)[0]) < TOLERANCE[dtype]


@pytest.mark.parametrize(("prefix", "suffix"), [(96, [0, 1, 17, 40, 33]), (0, [0, 5, 16]), (33, [1]), (64, [0, 0])])
def test_suffixes_may_be_empty_and_so_may_the_prefix(prefix, suffix, dtype, device):
    check(prefix, suffix, dtype, device)


@pytest.mark.parametrize("prefix", [1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 95, 96, 97])
def test_around_block_boundaries(prefix, dtype, device):
    check(prefix, [3, 0], dtype, device)


@pytest.mark.parametrize(("batch", "group"), [(5, 1), (17, 4), (10, 7), (3, 71)])
def test_queries_around_a_tile(batch, group, dtype, device):
    check(70, [b % 3 for b in range(batch)], dtype, device, group, prefix_config=Config(32, 4, 2, block_m=64))


@pytest.mark.parametrize("kind", ["plain", "outliers"])
@pytest.mark.parametrize("dim", [64, 96, 128])
def test_widths(dim, kind, dtype, device):
    check(130, [9, 1], dtype, device, dim=dim, kind=kind, prefix_config=Config(64, 4, 2, block_m=16))


def test_fp8(device):
    check(70, [5, 20], torch.float8_e4m3fn, device)
