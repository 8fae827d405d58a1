"""Quantize-and-pack: codes, scales and minima equal the Torch reference bit for bit; the error is half a step."""

import pytest
import torch
from data import inputs

from kernels_ref import quantize


def blocks(x):
    """[1, heads, n * 128, dim] -> [n, heads, 128, dim]."""
    return x[0].unflatten(1, (-1, quantize.BLOCK)).transpose(0, 1).contiguous()


@pytest.mark.parametrize("kind", ["plain", "outliers"])
@pytest.mark.parametrize(("bits", "group", "dim"), [(2, 32, 64), (4, 32, 96), (2, 64, 128), (4, 128, 128)])
def test_packing_is_exact(bits, group, dim, kind, dtype, device):
    _, k, v = inputs(1, 2, 1, 256, dim, dtype, device, kind)
    k[0, 0, :40, 5] = 1.5  # a group without range
    into = quantize.empty(3, 2, dim, bits, group, device)
    for x in into.tensors:
        x.view(torch.int16).fill_(-1)
    quantize.pack(k, v, torch.tensor([[2, 0]], dtype=torch.int32, device=device), into)
    expected = quantize.pack_reference(blocks(k), blocks(v), bits, group)
    for got, want in zip(into.tensors, expected.tensors, strict=True):
        assert torch.equal(got[[2, 0]], want)
        assert (got[1].view(torch.int16) == -1).all()


@pytest.mark.parametrize("bits", [2, 4])
def test_error_is_half_a_step(bits, device):
    _, k, v = inputs(1, 1, 1, 128, 64, torch.float16, device)
    pages = quantize.pack_reference(k, v, bits, 32)
    k_back, v_back = quantize.unpack(pages)
    k_step = pages.k_scale.double().repeat_interleave(32, 2)
    v_step = pages.v_scale.double().transpose(2, 3).repeat_interleave(32, 3)
    assert ((k_back - k.double()).abs() <= 0.51 * k_step + 1e-3).all()
    assert ((v_back - v.double()).abs() <= 0.51 * v_step + 1e-3).all()


def test_bytes_are_bits_and_metadata():
    assert quantize.empty(5, 2, 128, 2).nbytes == 5 * 2 * 2 * 128 * 128 * 3 // 8  # 2 + 32 / 32 bits
    assert quantize.empty(5, 2, 128, 4, 64).nbytes == 5 * 2 * 2 * 128 * 128 * 9 // 16  # 4 + 32 / 64 bits


def test_a_page_of_minus_one_is_skipped_and_mistakes_are_named(device):
    k = torch.zeros(1, 1, 128, 64, dtype=torch.float16, device=device)
    into = quantize.empty(1, 1, 64, 2, 32, device)
    into.k_codes.fill_(7)
    quantize.pack(k, k, torch.tensor([[-1]], dtype=torch.int32, device=device), into)
    assert (into.k_codes == 7).all()
    with pytest.raises(ValueError, match="bits must be 2 or 4"):
        quantize.empty(1, 1, 64, 3)
    with pytest.raises(ValueError, match="whole blocks"):
        quantize.pack(k[:, :, :100], k[:, :, :100], torch.zeros(1, 1), into)
