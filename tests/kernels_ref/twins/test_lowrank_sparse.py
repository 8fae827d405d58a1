"""GEAR: outliers, factors and codes of a block, from what is stored; a buffer that is compressed when it is full."""

import pytest

torch = pytest.importorskip("torch")

from kernels_ref.twins.bits import unpack  # noqa: E402
from kernels_ref.twins.cache import begin  # noqa: E402
from kernels_ref.twins.made_up import made_up  # noqa: E402

from .test_compress import tiny  # noqa: E402


def test_stored_tensors_alone_give_what_is_read() -> None:
    states = made_up(tiny(1), 48)
    values = states.layers[0].values
    cache = begin("gear:bits=2:group=16:rank=3:sparse=0.1", states)
    codes, scales, lows, left, right, apart, places = cache.rows[0][7:]
    numbers = unpack(codes.flatten(), 2, values.numel()).reshape(2, 48, 2, 16).float()
    rows = (numbers * scales.float()[..., None] + lows.float()[..., None]).flatten(2)
    rows = rows + left.float() @ right.float().transpose(1, 2)
    # 154 of 48 x 32 elements: of the first 10 tokens 4, of the others 3
    owner = [t for t in range(48) for _ in range(4 if t < 10 else 3)]
    assert apart.shape == places.shape == (2, 154)
    for head in range(2):
        for token, place, value in zip(owner, places[head].tolist(), apart[head].tolist(), strict=True):
            rows[head, token, place] = value
    assert torch.allclose(cache.read[0].value, rows, atol=1e-6)


def test_the_largest_and_smallest_of_a_channel_are_apart() -> None:
    states = made_up(tiny(1), 40)
    keys = states.layers[0].keys
    read = begin("gear:bits=2:sparse=0.1", states).read[0].key
    for head, channel in ((0, 0), (1, 31)):
        order = keys[head, :, channel].argsort()
        extreme = torch.cat([order[:2], order[-2:]])
        assert torch.equal(read[head, extreme, channel], keys[head, extreme, channel].half().float())


def test_factors_bring_most_of_the_miss_back() -> None:
    states = made_up(tiny(1), 64)
    keys = states.layers[0].keys

    def missed(rank: int) -> float:
        return float((begin(f"gear:bits=2:rank={rank}:sparse=0", states).read[0].key - keys).norm())

    coded = begin("gear:bits=2:rank=0:sparse=0", states).read[0].key
    for head in range(2):
        best = torch.linalg.svdvals(keys[head] - coded[head])
        left = torch.linalg.svdvals(keys[head] - begin("gear:bits=2:rank=4:sparse=0", states).read[0].key[head])
        assert float(best[4:].norm()) <= float(left.norm()) * 1.001 <= float(best[4:].norm()) * 1.05
    assert missed(32) < 0.01 * missed(0)


def test_generated_tokens_are_compressed_when_the_buffer_is_full() -> None:
    whole = made_up(tiny(1), 60)
    layer = whole.layers[0]
    cache = begin("gear:buffer=8", whole.slice(0, 40))
    prompt = cache.read[0].key
    cache.attend(0, layer.slice(40, 51))
    cache.stored_bytes()
    read = cache.read[0].key
    assert torch.equal(read[:, :40], prompt)
    assert torch.equal(read[:, 48:], layer.keys[:, 48:51].half().float())
    missed = (read[:, 40:48] - layer.keys[:, 40:48]).norm() / layer.keys[:, 40:48].norm()
    assert 0.001 < missed < 0.1
