"""Tokens coded by themselves, against their definitions written out element by element."""

import math

import pytest

torch = pytest.importorskip("torch")

from kernels_ref.twins.bits import unpack  # noqa: E402
from kernels_ref.twins.cache import begin  # noqa: E402
from kernels_ref.twins.hadamard import matrix  # noqa: E402
from kernels_ref.twins.made_up import made_up  # noqa: E402
from kernels_ref.twins.states import rotate  # noqa: E402
from kvsim.traits.policy import policy  # noqa: E402

from .test_compress import tiny  # noqa: E402


def test_block_floating_point_on_numbers_worked_by_hand() -> None:
    states = made_up(tiny(1), 3)
    layer = states.layers[0]
    layer.values[:] = 0.0
    layer.values[0, 0, :4] = torch.tensor([3.0, -0.49, 0.2, 1.0])  # below 2^2: a step of 2^2 / 2^3 = 0.5
    layer.values[0, 1, :4] = torch.tensor([0.95, -0.06, 0.07, 0.5])  # below 2^0: a step of 0.125, and 7 of them at most
    cache = begin("bfp-kv:bits=4:block=32", states)
    assert cache.read[0].value[0, 0, :4].tolist() == [3.0, -0.5, 0.0, 1.0]
    assert cache.read[0].value[0, 1, :4].tolist() == [0.875, 0.0, 0.125, 0.5]
    assert cache.rows[0][3][0, :, 0].tolist() == [129, 127, 127]  # exponents, biased


def test_block_floating_point_puts_loud_channels_together() -> None:
    states = made_up(tiny(1), 40)
    layer = states.layers[0]
    layer.keys[:, :, ::4] *= 1000.0  # one in each block of four neighbours
    read = begin("bfp-kv:bits=6:block=4", states).read[0].key
    quiet = torch.arange(32) % 4 != 0
    missed = (read - layer.keys)[:, :, quiet].norm() / layer.keys[:, :, quiet].norm()
    assert missed < 0.05


def test_codes_of_a_token_and_its_sinks() -> None:
    states = made_up(tiny(2), 50)
    for layer in states.layers:
        layer.before[[7, 30, 41], 5] = 500.0 + torch.arange(3)
    chosen = policy("rotatekv:bits=3:sinks=3:group=16")
    plain = begin(chosen, states).basis.quantizers[1, 0]
    plain.heads = torch.arange(2)
    rows = states.layers[1].keys, states.layers[1].values
    coded = plain.code(1, *rows, torch.arange(50).expand(2, -1))
    assert coded.tensors[-1].tolist() == [7, 30, 41] * 2
    codes, scales, lows, whole = coded.tensors[:4]
    assert torch.equal(whole.reshape(2, 3, 32), rows[0][:, [7, 30, 41]].half())
    others = [t for t in range(50) if t not in (7, 30, 41)]
    numbers = unpack(codes[1], 3, 47 * 32).reshape(47, 32)
    for i in (0, 8, 46):
        for c in (0, 15, 16, 31):
            group = rows[0][1, others[i], c // 16 * 16 : c // 16 * 16 + 16].tolist()
            low, scale = float(lows[1, i, c // 16]), float(scales[1, i, c // 16])
            assert low == pytest.approx(min(group), rel=1e-3)
            assert scale == pytest.approx((max(group) - min(group)) / 7, rel=1e-3)
            expected = round((float(rows[0][1, others[i], c]) - low) / scale)
            assert int(numbers[i, c]) == min(7, max(0, expected))
            assert float(coded.key[1, others[i], c]) == pytest.approx(low + scale * int(numbers[i, c]), rel=1e-6)


def test_two_bits_are_cut_at_four_fifths_of_the_range() -> None:
    states = made_up(tiny(1), 4)
    states.layers[0].values[0, 0] = torch.linspace(-1, 1, 32)
    quantizer = begin("rotatekv:sinks=0:group=32", states).basis.quantizers[0, 0]
    quantizer.heads = torch.arange(2)
    rows = states.layers[0].keys, states.layers[0].values
    read = quantizer.code(0, *rows, torch.arange(4).expand(2, -1)).value[0, 0]
    assert read.min().item() == pytest.approx(-0.8, rel=1e-3) and read.max().item() == pytest.approx(0.8, rel=1e-3)


def test_rotation_is_sylvesters_and_goes_back() -> None:
    two = torch.tensor([[1.0, 1.0], [1.0, -1.0]]) / math.sqrt(2)
    assert torch.allclose(matrix(8), torch.kron(two, torch.kron(two, two)))
    states = made_up(tiny(2), 30)
    basis = begin("rotatekv:heads=2:sinks=40", states).basis  # all tokens whole: only 16 bits are lost
    quantizer = basis.quantizers[1, 0]
    quantizer.heads = torch.arange(2)
    layer = states.layers[1]
    coded = basis.code(quantizer, 1, layer.keys, layer.values, torch.arange(30).expand(2, -1))
    assert torch.allclose(coded.key, layer.keys, atol=4e-3) and torch.allclose(coded.value, layer.values, atol=4e-3)
    raw = rotate(layer.keys, torch.arange(30).expand(2, -1), states.turns, back=True)
    order = raw.transpose(0, 1).flatten(1).sum(0).argsort(stable=True)
    mixed = raw.transpose(0, 1).flatten(1)[:, order] @ matrix(64)
    assert torch.allclose(
        coded.tensors[3].reshape(2, 30, 32).float(), mixed.unflatten(1, (2, 32)).transpose(0, 1), atol=4e-3
    )
