"""KVQuant: what is apart, what is whole, and codes that look up the tables."""

import pytest

torch = pytest.importorskip("torch")

from kernels_ref.twins.bits import unpack  # noqa: E402
from kernels_ref.twins.cache import begin  # noqa: E402
from kernels_ref.twins.made_up import made_up  # noqa: E402
from kernels_ref.twins.states import rotate  # noqa: E402

from .test_compress import tiny  # noqa: E402

N, CODED = 50, 48


@pytest.fixture(scope="module")
def cache():
    return begin("kvquant:outliers=0.04:sinks=2", made_up(tiny(2), N), calibration=made_up(tiny(2), 80, seed=3))


def test_stored_tensors_alone_give_what_is_read(cache) -> None:
    states = made_up(tiny(2), N)
    key_codes, value_codes, *rest = cache.rows[1]
    far, channels, pointers, apart, places, more, middle, half, *sinks = rest
    tables = cache.basis.quantizers[1, 0].whole
    assert far.shape == (1, CODED, 3) and pointers.dtype == more.dtype == torch.int32  # 4 % of 64 channels: 3
    keys, values = (
        unpack(x.flatten(), 3, 2 * CODED * 32).reshape(2, CODED, 32).long() for x in (key_codes, value_codes)
    )
    rows = tables.keys[keys].transpose(0, 1).flatten(1) * tables.half + tables.middle
    rows.scatter_(1, channels[0].long(), far[0].float())
    turned = rotate(rows.unflatten(1, (2, 32)).transpose(0, 1), torch.arange(2, N).expand(2, -1), states.turns)
    assert torch.equal(cache.read[1].key[:, 2:], turned)
    rows = tables.values[values].transpose(0, 1).flatten(1) * half[0].float() + middle[0].float()
    rows.scatter_(1, places[0].long(), apart[0].float())
    assert torch.equal(cache.read[1].value[:, 2:], rows.unflatten(1, (2, 32)).transpose(0, 1))
    assert torch.equal(cache.read[1].key[:, :2], states.layers[1].keys[:, :2].half().float())
    assert torch.equal(sinks[1], states.layers[1].values[:, :2].half())


def test_outliers_lie_farthest_out(cache) -> None:
    layer, tables = made_up(tiny(2), N).layers[1], cache.basis.quantizers[1, 0].whole
    for token in (0, 20, CODED - 1):
        raw = layer.raw_keys[:, token + 2].flatten()
        distance = ((raw - tables.middle) / tables.half).abs()
        assert set(cache.rows[1][3][0, token].tolist()) == set(distance.argsort(descending=True)[:3].tolist())
        values = layer.values[:, token + 2].flatten()
        farthest = (values - values.mean()).abs().argsort(descending=True)[:3]
        assert set(cache.rows[1][6][0, token].tolist()) == set(farthest.tolist())
        others = torch.ones(64, dtype=torch.bool).scatter_(0, farthest, False)
        low, high = values[others].min(), values[others].max()
        assert float(cache.rows[1][8][0, token, 0]) == pytest.approx(float(low + high) / 2, abs=2e-3)
        assert float(cache.rows[1][9][0, token, 0]) == pytest.approx(float(high - low) / 2, rel=2e-3)


def test_ranges_are_of_the_calibration_text(cache) -> None:
    seen = made_up(tiny(2), 80, seed=3).layers[1].raw_keys[:, 2:]
    channel = seen[1, :, 5].double()
    low, high = torch.quantile(channel, 0.02), torch.quantile(channel, 0.98)
    tables = cache.basis.quantizers[1, 0].whole
    assert float(tables.middle[37]) == pytest.approx(float(low + high) / 2, abs=2e-3)
    assert float(tables.half[37]) == pytest.approx(float(high - low) / 2, rel=2e-3)


def test_two_bits_of_four_levels_are_read_back() -> None:
    states = made_up(tiny(1), 40)
    levels = torch.tensor([-1.0, -0.25, 0.5, 1.0])
    layer = states.layers[0]
    layer.values[:] = levels[torch.randint(0, 4, layer.values.shape, generator=torch.Generator().manual_seed(0))]
    layer.values[:, :, 0], layer.values[:, :, 1] = -1.0, 1.0
    read = begin("kvquant:bits=2:outliers=0:sinks=0", states).read[0].value
    assert torch.allclose(read, layer.values, atol=2e-3)
