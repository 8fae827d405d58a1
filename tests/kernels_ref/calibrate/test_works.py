"""What is timed is what the row says: small shapes on the CPU, against plain products and attention."""

import pytest
import torch
from rigs import rig

from kernels_ref import reference
from kernels_ref.calibrate import attention_decode, elementwise, fused, gemm, grouped_gemm, ragged_decode
from kernels_ref.calibrate.point import Unable
from kernels_ref.calibrate.rig import Pool


def test_pool_gives_slices_in_turn_and_never_more_than_it_has() -> None:
    pool = Pool({"bf16": 8192}, "cpu")
    a, b, c = (pool.take("bf16", 2, 700) for _ in "abc")
    assert a.shape == (2, 700) and a.data_ptr() != b.data_ptr()
    assert c.data_ptr() == a.data_ptr()
    assert 0.8 < a.float().std() < 1.2
    with pytest.raises(Unable, match="fp8"):
        pool.take("fp8", 1)


def drawn(one, *shapes):
    """What a build took from `one`'s pool: slices of these shapes, two sets of each, in order."""
    again = rig()
    again.pool._bytes = one.pool._bytes
    return [[again.random("bf16", *shape).double() for _ in range(2)] for shape in shapes]


def test_gemm_multiplies_by_the_weights_transposed() -> None:
    one = rig()
    one.timer.time(gemm.build(one, 5, 48, 32, "bf16"))
    a, b = drawn(one, (5, 32), (48, 32))
    for i, out in enumerate(one.timer.results):
        assert reference.error(out, a[i] @ b[i].t()) < 1e-2


def test_experts_get_their_own_rows() -> None:
    one = rig()
    one.timer.time(grouped_gemm.build(one, [3, 0, 2], 16, 32, grouped_gemm.LOOP))
    weights, a = drawn(one, (3, 16, 32), (5, 32))
    expected = torch.cat((a[1][:3] @ weights[1][0].t(), a[1][3:] @ weights[1][2].t()))
    assert reference.error(one.timer.results[1], expected) < 1e-2
    assert sum(grouped_gemm.routed(64, 8)) == 64


@pytest.mark.parametrize("context", [16, 48])
def test_decode_reads_its_whole_cache(context: int) -> None:
    one = rig()
    work = attention_decode.build(one, 2, context, 4, 2, 64, "fp8", attention_decode.OURS)
    out = work.launch(0)
    assert out.shape == (2, 4, 64)
    assert torch.isfinite(out).all() and out.abs().sum() > 0


@pytest.mark.parametrize("kernel", [name for name in elementwise.PASSES if name not in fused.PASSES])
def test_passes_run(kernel: str) -> None:
    one = rig(1 << 26)
    width = 256 if kernel not in ("argmax", "softmax_sample") else 512
    if kernel == "embedding":
        width = 128
    work = elementwise.build(kernel, 4, width, "cold", one)
    assert work.extra["bytes"] > 0
    assert isinstance(work.launch(1), torch.Tensor)


def test_a_ragged_batch_reads_each_row_to_its_end_and_no_further() -> None:
    assert ragged_decode.lengths("2x300+1x17") == [300, 300, 17]
    one = rig()
    work = ragged_decode.build([16, 40, 3], 4, 2, 64, one)
    out = work.launch(1)
    assert work.sets == 2 and out.shape == (3, 4, 64)
    assert torch.isfinite(out).all() and (out.abs().sum((1, 2)) > 0).all()
