"""Decode over KIVI's packed cache against float64 over the same dequantized values."""

import pytest
import torch
from data import inputs, poisoned

from kernels_ref.kivi_cache import decode_reference, from_dense
from kernels_ref.kivi_decode import decode
from kernels_ref.reference import attention, error
from kernels_ref.splits import Split

TOLERANCE = {torch.float16: 3e-3, torch.bfloat16: 6e-3}


def check(bits, group_heads, dim, lengths, dtype, device, kind="plain", split=None, kv_heads=1, group=32):
    tokens = max(lengths)
    q, k, v = inputs(len(lengths), kv_heads, group_heads, tokens, dim, dtype, device, kind, seed=tokens + bits)
    cache = from_dense(k, v, lengths, bits, group)
    out = decode(q, cache, out=poisoned(q), split=split)
    assert error(out, decode_reference(q, cache)) < TOLERANCE[dtype]
    empty = torch.tensor(lengths, device=device) == 0
    assert (out[empty] == 0).all()
    return q, k, v, out


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("kind", ["plain", "outliers"])
@pytest.mark.parametrize("dim", [64, 96, 128])
def test_widths_and_outliers(bits, dim, kind, dtype, device):
    check(bits, 4, dim, [300, 128], dtype, device, kind)


@pytest.mark.parametrize("group_heads", [1, 7, 8, 16])
def test_groups_of_heads(group_heads, dtype, device):
    check(2, group_heads, 64, [260], dtype, device, kv_heads=2)


@pytest.mark.parametrize("tokens", [1, 2, 15, 16, 17, 31, 33, 127, 128, 129, 255, 256, 257, 385])
def test_around_block_boundaries(tokens, dtype, device):
    check(2, 4, 64, [tokens, tokens - 1, 0, 1], dtype, device)
    check(4, 4, 64, [tokens], dtype, device)


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("group", [64, 128])
def test_wider_groups(bits, group, dtype, device):
    check(bits, 4, 128, [260], dtype, device, group=group)


@pytest.mark.parametrize("splits", [1, 2, 3])
def test_splits(splits, dtype, device):
    check(2, 4, 64, [390, 70], dtype, device, split=Split(splits, -(-4 // splits) * 128))


def test_four_bits_come_close_to_the_original(dtype, device):
    q, k, v, out = check(4, 4, 128, [256], dtype, device)
    assert error(out, attention(q, k, v)[0]) < 0.15


def test_mistakes_are_named(device):
    q, k, v = inputs(1, 1, 4, 128, 64, torch.float16, device)
    cache = from_dense(k, v, [128], 2)
    with pytest.raises(ValueError, match="q must be contiguous"):
        decode(q.float(), cache)
