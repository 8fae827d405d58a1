"""The fused element-wise kernels do what their Torch versions say."""

import pytest
import torch

from kernels_ref.executor.elementwise import FP8, add_norm, rotary, rotations, silu_mul, write_rows
from kernels_ref.executor.kivi_unpack import unpack_rows
from kernels_ref.executor.past import read_past
from kernels_ref.quantize import pack_reference


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).half()


def without_carries(x: torch.Tensor, kind: torch.dtype) -> torch.Tensor:
    """`x` without powers of two in fp8: Triton's interpreter rounds up to them without carrying into the exponent."""
    return torch.where(torch.frexp(x.float().abs())[0] == 0.5, 0.0, x.float()) if kind == FP8 else x


@pytest.mark.parametrize("width", [64, 96, 448])
@pytest.mark.parametrize("add", [False, True])
def test_norm(width: int, add: bool) -> None:
    x = drawn(5, width) if add else None
    weight = 1 + 0.1 * drawn(width, seed=2)
    found = []
    for fused in (False, True):
        residual = drawn(5, width, seed=1)
        found.append((add_norm(x, residual, weight, 1e-5, fused), residual))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=2e-3, atol=2e-3)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=0, atol=0)


@pytest.mark.parametrize("width", [96, 1024, 1500])
def test_silu(width: int) -> None:
    x = drawn(3, 2 * width)
    torch.testing.assert_close(silu_mul(x, False), silu_mul(x, True), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(("heads", "kv_heads", "dim"), [(4, 2, 32), (8, 8, 64), (28, 4, 16), (3, 1, 32)])
@pytest.mark.parametrize("kind", [torch.float16, FP8])
def test_rotary_and_cache_write(heads: int, kv_heads: int, dim: int, kind: torch.dtype) -> None:
    turns = rotations(10_000.0, dim, 50, "cpu")
    positions = torch.tensor([3, 0, 49, 7], dtype=torch.int32)
    slots = torch.tensor([17, 2, -1, 30], dtype=torch.int32)
    scales = torch.tensor([0.5, 2.0]) if kind == FP8 else None
    found = []
    for fused in (False, True):
        qkv = drawn(4, (heads + 2 * kv_heads) * dim)
        pages = [torch.zeros(4, kv_heads, 16, dim, dtype=torch.uint8).to(kind) for _ in "kv"]
        q = rotary(qkv, turns, positions, heads, kv_heads, fused, slots, tuple(pages), scales)
        found.append((q, qkv, *(page.float() for page in pages)))
    for i, (plain, kernel) in enumerate(zip(*found, strict=True)):
        stored = kind if i > 1 else torch.float16
        known = without_carries(plain, stored) != 0
        limit = 0.13 if stored == FP8 else 2e-3  # one step of e4m3: the rotated values may round apart
        torch.testing.assert_close(plain[known], kernel[known], rtol=limit, atol=2e-3)
        assert (kernel[plain == 0] == 0).all()
    assert found[1][2].abs().sum() > 0
    q, unwritten = rotary(drawn(4, (heads + 2 * kv_heads) * dim), turns, positions, heads, kv_heads, True), found[0][0]
    torch.testing.assert_close(q, unwritten, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("kind", [torch.float16, FP8])
@pytest.mark.parametrize("kv_heads", [1, 4, 8])
def test_rows_come_back_out_of_pages(kind: torch.dtype, kv_heads: int) -> None:
    k, v = (drawn(37, kv_heads, 32, seed=i).to(kind).half() for i in range(2))  # nothing is left to round
    table = torch.tensor([4, 0, 2], dtype=torch.int32)
    place = torch.arange(37)
    slots = (table[place // 16] * 16 + place % 16).int()
    slots[5] = -1
    for fused in (False, True):
        pages = tuple(torch.zeros(5, kv_heads, 16, 32, dtype=torch.uint8).to(kind) for _ in "kv")
        live = slots >= 0 if not fused else slice(None)
        write_rows(k[live], v[live], slots[live], pages, fused)
        back = tuple(torch.full((40, kv_heads, 32), 7.0).half() for _ in "kv")
        read_past(pages, table, 37, back, fused)
        for rows, sent in zip(back, (k, v), strict=True):
            same = torch.ones(37, dtype=torch.bool)
            same[5] = False
            torch.testing.assert_close(rows[:37][same], sent[same], rtol=0, atol=0)
            assert (rows[37:] == 7).all() and (rows[5] == 0).all()


@pytest.mark.parametrize("bits", [2, 4])
def test_packed_pages_come_back(bits: int) -> None:
    k, v = drawn(3, 2, 128, 32), drawn(3, 2, 128, 32, seed=1)
    packed, table = pack_reference(k, v, bits, 32), torch.tensor([2, 0], dtype=torch.int32)
    found = []
    for fused in (False, True):
        rows = tuple(torch.full((260, 2, 32), 7.0).half() for _ in "kv")
        unpack_rows(packed, table, 2, *rows, fused)
        found.append(rows)
        assert all((x[256:] == 7).all() for x in rows)
    for plain, kernel in zip(*found, strict=True):
        torch.testing.assert_close(plain, kernel, rtol=1e-3, atol=1e-3)
    assert (found[0][0][:128].transpose(0, 1) - k[2]).abs().mean() < (1.0 if bits == 2 else 0.2)
