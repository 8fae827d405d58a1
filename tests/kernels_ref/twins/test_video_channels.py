"""VidKV: signs of a transform, trits, and which channels and tokens get more bits."""

import math

import pytest

torch = pytest.importorskip("torch")

from kernels_ref.twins.bits import pack_trits, unpack, unpack_trits  # noqa: E402
from kernels_ref.twins.cache import begin  # noqa: E402
from kernels_ref.twins.made_up import made_up  # noqa: E402
from kernels_ref.twins.video_channels import signed  # noqa: E402

from .test_compress import tiny  # noqa: E402


@pytest.mark.parametrize("n", (2, 5, 8))
def test_signs_are_of_an_orthonormal_fourier_transform(n: int) -> None:
    rows = torch.randn(3, n, generator=torch.Generator().manual_seed(n)) + 4.0
    at = torch.arange(n, dtype=torch.float64)
    waves = [torch.ones(n, dtype=torch.float64)]
    waves += [torch.cos(2 * math.pi * k * at / n) for k in range(1, n // 2 + 1)]
    waves += [-torch.sin(2 * math.pi * k * at / n) for k in range(1, (n - 1) // 2 + 1)]
    basis = torch.stack([wave / wave.norm() for wave in waves])
    codes, scale, mean, read = signed(rows)
    found = (rows.double() - mean.double()) @ basis.T
    size = found[:, 1:].abs().mean(1, keepdim=True)
    assert torch.allclose(scale.double(), size, rtol=2e-3)
    assert torch.equal(codes[:, 1:].bool(), found[:, 1:] >= 0)
    expected = torch.where(found[:, 1:] >= 0, 1.0, -1.0) * scale.double() @ basis[1:] + mean.double()
    assert torch.allclose(read.double(), expected, atol=1e-5)


def test_five_trits_are_a_byte() -> None:
    codes = torch.tensor([2, 1, 0, 2, 1, 1, 2])
    assert pack_trits(codes).tolist() == [2 + 3 + 2 * 27 + 81, 1 + 2 * 3]
    assert unpack_trits(pack_trits(codes), 7).tolist() == codes.tolist()


def test_loud_channels_have_two_bits() -> None:
    states = made_up(tiny(1), 20)
    states.layers[0].keys[1, :, [3, 30]] *= 50.0
    cache = begin("vidkv:group=16:residual=16:anomalous=0.0625", states)
    marks = unpack(cache.rows[0][3].flatten(), 1, 64).reshape(2, 32)
    assert marks[1].nonzero()[:, 0].tolist() == [3, 30] and int(marks[0].sum()) == 2
    column = states.layers[0].keys[1, :16, 3]
    low, step = column.min(), (column.max() - column.min()) / 3
    nearest = ((column - low) / step).round() * step + low
    assert torch.allclose(cache.read[0].key[1, :16, 3], nearest, rtol=2e-3, atol=0.05)
    assert torch.equal(cache.read[0].key[:, 16:], states.layers[0].keys[:, 16:].half().float())


def test_values_are_trits_and_those_of_salient_tokens_have_two_bits() -> None:
    states = made_up(tiny(1), 16)
    plain = begin("vidkv:group=16:residual=16", states).read[0].value
    cache = begin("vidkv:group=16:residual=16:salient=0.25", states)
    trits, fours, marks, scale, mean = cache.rows[0][4:9]
    salient = unpack(marks.flatten(), 1, 32).reshape(2, 16).bool()
    assert salient.sum(1).tolist() == [4, 4]
    assert fours.shape == (2, 4 * 32 * 2 // 8) and trits.shape == (2, math.ceil(12 * 32 / 5))
    size, middle = scale.float().squeeze(3).squeeze(2), mean.float().squeeze(3).squeeze(2)
    for head, token in ((0, int(salient[0].long().argmax())), (0, int((~salient[0]).long().argmax()))):
        steps = (states.layers[0].values[head, token] - middle[head]) / size[head]
        if salient[head, token]:
            expected = ((steps + 1.5).round().clamp(0, 3) - 1.5) * size[head] + middle[head]
        else:
            expected = torch.where(steps > 0.5, 1.0, torch.where(steps < -0.5, -1.0, 0.0)) * size[head] + middle[head]
            assert torch.allclose(plain[head, token], expected, atol=1e-5)
        assert torch.allclose(cache.read[0].value[head, token], expected, atol=1e-5)
