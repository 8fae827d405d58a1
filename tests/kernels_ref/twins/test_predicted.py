"""AQUA-KV: rows are read from the layer before and a rotated residual on a grid; sinks and newest are whole."""

import pytest

torch = pytest.importorskip("torch")

from kernels_ref.twins.bits import unpack  # noqa: E402
from kernels_ref.twins.cache import begin  # noqa: E402
from kernels_ref.twins.hadamard import matrix  # noqa: E402
from kernels_ref.twins.made_up import made_up  # noqa: E402
from kernels_ref.twins.predicted import grid  # noqa: E402
from kernels_ref.twins.states import rotate  # noqa: E402

from .test_compress import tiny  # noqa: E402

TEXT = "aqua-kv:sinks=2:buffer=8"


def test_sinks_and_newest_are_whole_and_the_rest_is_read_from_the_layer_before() -> None:
    states = made_up(tiny(3), 61)
    cache = begin(TEXT, states, calibration=made_up(tiny(3), 200, seed=5))
    part, before = cache.basis.quantizers[2, 0], cache.basis.quantizers[1, 0]
    key_codes, value_codes, key_scales, value_scales = cache.rows[2][:4]
    coded = 48  # of 59 later tokens 56 fill blocks, and the last of these waits
    codes = unpack(key_codes.flatten(), 4, 2 * coded * 16).reshape(2, coded, 16).long()
    residual = grid(16)[codes].flatten(2).transpose(0, 1).flatten(1) * key_scales[0].float()
    weights, constant = part.maps[0]
    rows = before.coded[0] @ weights + constant + residual @ matrix(64)
    at = torch.arange(2, 50).expand(2, -1)
    turned = rotate(rows.unflatten(1, (2, 32)).transpose(0, 1), at, states.turns)
    assert torch.allclose(cache.read[2].key[:, 2:50], turned, atol=1e-4)
    inputs = torch.cat([rows, before.coded[1]], 1)
    codes = unpack(value_codes.flatten(), 4, 2 * coded * 16).reshape(2, coded, 16).long()
    residual = grid(16)[codes].flatten(2).transpose(0, 1).flatten(1) * value_scales[0].float()
    rows = inputs @ part.maps[1][0] + part.maps[1][1] + residual @ matrix(64)
    assert torch.allclose(cache.read[2].value[:, 2:50], rows.unflatten(1, (2, 32)).transpose(0, 1), atol=1e-4)
    for read, true in ((cache.read[2].key, states.layers[2].keys), (cache.read[2].value, states.layers[2].values)):
        assert torch.equal(read[:, :2], true[:, :2].half().float())
        assert torch.equal(read[:, 50:], true[:, 50:].half().float())


def test_a_layer_that_follows_from_the_one_before_misses_no_more_than_that() -> None:
    states = made_up(tiny(2), 120)
    one, two = states.layers
    mixing = torch.randn(64, 64, generator=torch.Generator().manual_seed(0)) / 8

    def follows(rows):
        return (rows.transpose(0, 1).flatten(1) @ mixing + 3.0).unflatten(1, (2, 32)).transpose(0, 1)

    two.raw_keys[:], two.values[:] = follows(one.raw_keys), follows(one.values)
    two.keys[:] = rotate(two.raw_keys, torch.arange(120).expand(2, -1), states.turns)
    read = begin(TEXT, states).read

    def missed(layer: int, true) -> float:
        middle = slice(2, 106)
        found = read[layer].value[:, middle] - true[:, middle]
        return float(found.norm() / (true[:, middle] - true[:, middle].mean(1, keepdim=True)).norm())

    # 4 bits in the first layer; what is left of those misses has 2 bits in the second
    assert missed(0, one.values) < 0.13
    assert missed(1, two.values) < 0.5 * missed(0, one.values)


def test_grids_of_pairs_miss_less_than_the_best_levels_of_single_numbers() -> None:
    pairs = torch.randn(20000, 2, generator=torch.Generator().manual_seed(8))
    for bits, levels in ((2, 0.1175), (3, 0.03454), (4, 0.009497)):  # mean squares: Max 1960, table 1
        missed = torch.cdist(pairs, grid(4**bits)).min(1).values.square().mean() / 2
        assert 4.0**-bits < float(missed) < levels
