"""KIVI's codes against the packed pages' definition, and against itself composed with an eviction."""

import pytest

torch = pytest.importorskip("torch")

from kernels_ref.quantize import affine_reference, pack_reference  # noqa: E402
from kernels_ref.quantize import unpack as unpack_pages  # noqa: E402
from kernels_ref.twins.bits import unpack  # noqa: E402
from kernels_ref.twins.cache import begin  # noqa: E402
from kernels_ref.twins.made_up import made_up  # noqa: E402

from .test_compress import tiny  # noqa: E402


@pytest.mark.parametrize("bits", (2, 4))
def test_codes_are_those_of_the_kernels_pages(bits: int) -> None:
    states = made_up(tiny(), 256)
    cache = begin(f"kivi:bits={bits}", states)
    for layer, rows, tensors in zip(states.layers, cache.rows, cache.read, strict=True):
        pages = pack_reference(
            *(x.unflatten(1, (2, 128)).transpose(0, 1) for x in (layer.keys, layer.values)), bits, 32
        )
        keys, values = (x.transpose(0, 1).flatten(1, 2).float() for x in unpack_pages(pages))
        assert torch.equal(tensors.key, keys)
        assert torch.equal(tensors.value[:, :128], values[:, :128])
        assert torch.equal(tensors.value[:, 128:], layer.values[:, 128:].half().float())
        key_codes, scale, low = affine_reference(layer.keys, bits, 32, -2)
        stored = unpack(rows[0].flatten(), bits, key_codes.numel()).reshape(
            2, 8, 32, 32
        )  # heads, groups, channels, tokens
        assert torch.equal(stored.transpose(2, 3).reshape(2, 256, 32).int(), key_codes)
        assert torch.equal(rows[1].reshape(2, 8, 32), scale) and torch.equal(rows[2].reshape(2, 8, 32), low)
        value_codes, scale, low = affine_reference(layer.values[:, :128], bits, 32, -1)
        assert torch.equal(
            unpack(rows[3].flatten(), bits, value_codes.numel()).reshape(value_codes.shape).int(), value_codes
        )
        assert torch.equal(rows[4], scale) and torch.equal(rows[5], low)


def test_a_flat_group_has_codes_of_zero() -> None:
    states = made_up(tiny(), 128)
    for layer in states.layers:
        layer.keys[:] = 3.5
    read = begin("kivi", states).read[0]
    assert (read.key == 3.5).all()


def test_snapkv_chooses_and_kivi_codes_what_stays() -> None:
    states = made_up(tiny(), 200)
    kept = begin("snapkv:capacity=96:window=8", states)
    both = begin("snapkv:capacity=96:window=8+kivi:residual=32", states)
    for one, other, read in zip(kept.slots, both.slots, both.read, strict=True):
        assert torch.equal(one.position, other.position)
        codes, scale, low = affine_reference(one.key, 2, 32, -2)
        rows = codes.unflatten(1, (3, 32)) * scale[:, :, None].float() + low[:, :, None].float()
        assert torch.equal(read.key, rows.flatten(1, 2))
        assert torch.equal(read.value[:, 64:], one.value[:, 64:].half().float())


def test_duoattention_codes_each_kind_of_head_by_itself() -> None:
    states = made_up(tiny(), 200)
    kept = begin("duoattention:sinks=4:recent=28", states)
    both = begin("duoattention:sinks=4:recent=28+kivi:bits=4:residual=32", states)
    for one, read in zip(kept.slots, both.read, strict=True):
        for head, count in enumerate(one.counts.tolist()):
            coded = count - count % 32
            codes, scale, low = affine_reference(one.key[head : head + 1, :coded], 4, 32, -2)
            rows = codes.unflatten(1, (-1, 32)) * scale[:, :, None].float() + low[:, :, None].float()
            assert torch.equal(read.key[head, :coded], rows.flatten(1, 2)[0])
            assert torch.equal(read.key[head, coded:count], one.key[head, coded:count].half().float())
