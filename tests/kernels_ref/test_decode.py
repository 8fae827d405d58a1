"""Paged decode against float64: dtypes, groups, widths, block boundaries, splits, gathers, empty and one-token rows."""

import pytest
import torch
from data import TOLERANCE, inputs, poisoned

from kernels_ref import pages
from kernels_ref.configs import Config
from kernels_ref.decode import decode
from kernels_ref.reference import attention, error
from kernels_ref.splits import Split

SMALL = Config(block_n=32, warps=4, stages=2)


def paged(q, k, v, page=16):
    g = torch.Generator().manual_seed(1)
    state = g.get_state()
    k_pages, table = pages.scatter(k, page, g)
    g.set_state(state)
    return k_pages, pages.scatter(v, page, g)[0], table


def run(group, dim, tokens, lengths, dtype, device, kind="plain", split=None, kv_heads=2, **options):
    q, k, v = inputs(len(lengths), kv_heads, group, tokens, dim, dtype, device, kind, seed=tokens)
    k_pages, v_pages, table = paged(q, k, v)
    n = torch.tensor(lengths, dtype=torch.int32, device=device)
    out = decode(q, k_pages, v_pages, table, n, config=SMALL, split=split, out=poisoned(q), **options)
    expected, _ = attention(q, k, v, n)
    assert error(out, expected) < TOLERANCE[dtype]
    empty = n == 0
    assert (out[empty] == 0).all()


@pytest.mark.parametrize("group", [1, 4, 7, 8])
def test_groups(group, dtype, device):
    run(group, 64, 40, [40, 17], dtype, device)


@pytest.mark.parametrize("dim", [64, 96, 128])
@pytest.mark.parametrize("kind", ["plain", "outliers"])
def test_widths_and_outliers(dim, kind, dtype, device):
    run(4, dim, 70, [70, 33], dtype, device, kind)


@pytest.mark.parametrize("tokens", [1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 96, 97])
def test_around_block_boundaries(tokens, dtype, device):
    run(2, 64, tokens, [tokens, tokens - 1, 0, 1], dtype, device, kv_heads=1, split=Split(2, 64))


def test_many_splits_some_empty(dtype, device):
    run(2, 64, 200, [200, 31, 0], dtype, device, split=Split(7, 32))


@pytest.mark.parametrize("kind", ["plain", "outliers"])
def test_fp8_with_scales(kind, device):
    q, k, v = inputs(2, 2, 4, 50, 128, torch.float8_e4m3fn, device, kind)
    k_pages, v_pages, table = paged(q, k, v)
    n = torch.tensor([50, 3], dtype=torch.int32, device=device)
    ks, vs = torch.tensor([0.5, 1.5], device=device), torch.tensor([2.0, 0.25], device=device)
    options = {"k_scale": ks, "v_scale": vs, "config": SMALL, "split": Split(2, 32)}
    out = decode(q, k_pages, v_pages, table, n, out=poisoned(q), **options)
    expected, _ = attention(q, k.double() * ks.view(1, 2, 1, 1), v.double() * vs.view(1, 2, 1, 1), n)
    assert error(out, expected) < TOLERANCE[torch.float8_e4m3fn]


@pytest.mark.parametrize("grain", [1, 16])
def test_gathered(grain, dtype, device):
    q, k, v = inputs(2, 2, 4, 160, 64, dtype, device, "outliers")
    k_pages, v_pages, table = paged(q, k, v)
    entries = 48 // grain
    pick = torch.stack([torch.randperm(160 // grain)[:entries] for _ in range(4)]).view(2, 2, entries).to(device)
    if grain == 16:
        listed = table.long()[:, None].expand(2, 2, -1).gather(2, pick)
    else:
        listed = table.long()[:, None].expand(2, 2, -1).gather(2, pick // 16) * 16 + pick % 16
    n = torch.tensor([[48, 33], [1, 0]], dtype=torch.int32, device=device)
    out = decode(q, k_pages, v_pages, listed.int(), n, grain=grain, config=SMALL, split=Split(2, 32), out=poisoned(q))
    mine = [pages.gather(x, listed, 48, grain) for x in (k_pages, v_pages)]
    assert error(out, attention(q, *mine, n)[0]) < TOLERANCE[dtype]


def test_default_configuration(dtype, device):
    q, k, v = inputs(2, 2, 4, 130, 128, dtype, device)
    k_pages, v_pages, table = paged(q, k, v)
    n = torch.tensor([130, 77], dtype=torch.int32, device=device)
    assert error(decode(q, k_pages, v_pages, table, n, out=poisoned(q)), attention(q, k, v, n)[0]) < TOLERANCE[dtype]


def test_mistakes_are_refused(device):
    q, k, v = inputs(1, 2, 2, 16, 64, torch.float16, device)
    k_pages, v_pages, table = paged(q, k, v)
    n = torch.tensor([16], dtype=torch.int32, device=device)
    with pytest.raises(ValueError, match="grain must be"):
        decode(q, k_pages, v_pages, table, n, grain=4)
    with pytest.raises(ValueError, match="contiguous"):
        decode(q, k_pages[..., ::2], v_pages[..., ::2], table, n)
