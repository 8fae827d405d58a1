"""Shared prefixes against float64: block boundaries, tall and short tiles, empty and one-token suffixes, fp8."""

import pytest
import torch
from data import TOLERANCE, inputs, poisoned

from kernels_ref import library, pages
from kernels_ref.configs import Config
from kernels_ref.prefix import decode_shared, in_one_piece, in_pages
from kernels_ref.reference import attention, error

SMALL = Config(block_n=32, warps=4, stages=2)
SHORT = Config(block_n=32, warps=4, stages=2, block_m=16)


def check(prefix, suffix, dtype, device, group=4, dim=64, kind="outliers", prefix_config=SHORT):
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
    prefix = in_pages(*parts, prefix_table[0] + len(own), tokens)
    out = decode_shared(q, prefix, *parts, table, n, **options)
    assert error(out, attention(q, k, v, n + tokens)[0]) < TOLERANCE[dtype]


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


@pytest.mark.parametrize("kind", ["plain", "outliers"])
@pytest.mark.parametrize("pieces", [0, 1, 4])
@pytest.mark.parametrize(("batch", "group", "dim"), [(5, 4, 64), (40, 4, 128), (3, 1, 96)])
def test_a_prefix_in_one_piece(batch, group, dim, pieces, kind, dtype, device):
    suffix = [b % 4 for b in range(batch)]
    q, k, v = inputs(batch, 2, group, 64 + 4, dim, dtype, device, kind)
    k[:, :, :64], v[:, :, :64] = k[:1, :, :64].clone(), v[:1, :, :64].clone()
    prefix = in_one_piece(k[0, :, :64].contiguous(), v[0, :, :64].contiguous())
    g = torch.Generator()
    own = [pages.scatter(x[:, :, 64:], 16, g.manual_seed(4)) for x in (k, v)]
    n = torch.tensor(suffix, dtype=torch.int32, device=device)
    options = {"pieces": pieces, "config": SMALL, "prefix_config": SHORT, "out": poisoned(q)}
    out = decode_shared(q, prefix, own[0][0], own[1][0], own[0][1], n, **options)
    assert error(out, attention(q, k, v, n + 64)[0]) < TOLERANCE[dtype]


def test_pieces_fill_the_chip_once():
    q, k = torch.empty(256, 32, 128, dtype=torch.float16), torch.empty(8, 32768, 128, dtype=torch.float16)
    assert library.pieces_for(q, k, 132) == 2  # 64 tiles of 128 queries
    assert library.pieces_for(q[:64], k, 132) == 8  # 16 tiles
    assert library.pieces_for(q[:32], k, 132) == 0  # one tile a head: the kernel
    assert library.pieces_for(q[:64], k[:, :1040], 132) == 2  # pieces of 512 keys at least
    assert library.pieces_for(q, k.to(torch.float8_e4m3fn), 132) == 0


def test_mistakes_are_refused():
    with pytest.raises(ValueError, match="multiple of 16"):
        in_one_piece(torch.zeros(2, 40, 64), torch.zeros(2, 40, 64))
