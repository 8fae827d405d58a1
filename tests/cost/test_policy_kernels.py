"""Policies' own kernels: as `kvsim op` prices them, inside steps, and against rows of policies.csv."""

from typing import Any

import numpy as np
import pytest

import kvsim
from kvsim import find
from kvsim.cost.curves.packed import chosen
from kvsim.cost.curves.shared import pieces
from kvsim.cost.policykernels import KINDS
from kvsim.errors import UserError
from kvsim.validate.ownplans import POLICY_KERNELS
from kvsim.validate.published import read
from kvsim.validate.residuals import predicted

GQA = {"heads": 32, "kv_heads": 8, "head_dim": 128}
SHAPES: dict[str, dict[str, Any]] = {
    "packed_decode": {"batch": 8, "context": 32768, **GQA},
    "pack": {"batch": 8, "tokens": 2048, "kv_heads": 8, "head_dim": 128},
    "compaction": {"batch": 32, "kept": 2048, "kv_heads": 8, "head_dim": 128},
    "gathered_decode": {"batch": 8, "read": 8192, **GQA},
    "mla_decode": {"batch": 16, "context": 8192, "heads": 128},
    "lowrank_decode": {"batch": 8, "context": 8192, "rank": 160, **GQA},
    "shared_prefix_decode": {"batch": 16, "prefix": 32768, "suffix": 128, **GQA},
}
MEASURED_US = {  # hardware/calibration/<chip>/policies.csv
    "h100": {"packed_decode": 102.4, "pack": 37.2, "compaction": 97.9, "gathered_decode": 98.8, "mla_decode": 173.8,
             "lowrank_decode": 174.2, "shared_prefix_decode": 58.3},
    "h200": {"packed_decode": 93.8, "pack": 37.0, "compaction": 71.0, "gathered_decode": 71.3, "mla_decode": 171.4,
             "lowrank_decode": 169.1, "shared_prefix_decode": 46.2},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hw", MEASURED_US)
def test_an_op_is_near_its_measurement_and_names_its_kernel(hw: str, kind: str) -> None:
    found = kvsim.op(kind, hw=hw, **SHAPES[kind])
    assert found.seconds == pytest.approx(MEASURED_US[hw][kind] * 1e-6, rel=0.12)
    assert "kernels_ref" in found.provenance and found.expected_error <= 0.20
    assert found.roofline_s < found.seconds


@pytest.mark.parametrize("kind", KINDS)
def test_elsewhere_it_is_a_roofline(kind: str) -> None:
    found = kvsim.op(kind, hw="a100-80", **SHAPES[kind])
    assert found.provenance == "datasheet"
    assert found.roofline_s < found.seconds < 4 * found.roofline_s


def test_arrays_of_shapes_and_bits_that_exist() -> None:
    many = kvsim.op("packed_decode", hw="h100", batch=8, context=np.array([8192, 32768]), bits=4, **GQA)
    one = kvsim.op("packed_decode", hw="h100", batch=8, context=32768, bits=4, **GQA)
    assert many.seconds[1] == one.seconds > many.seconds[0]  # type: ignore[index]
    with pytest.raises(UserError, match="bits must be 2 or 4"):
        kvsim.op("pack", hw="h100", batch=1, tokens=128, kv_heads=8, head_dim=128, bits=3)


def test_every_kernel_of_the_table_has_a_curve_on_both_chips() -> None:
    for chip in ("h100-sxm", "h200-sxm"):
        for op, dtype, kernel, *_ in POLICY_KERNELS:
            one = find.calibrated(chip).curve(op, dtype, kernel)
            assert one and not one.measured_on and one.held_out.rows >= 8
            rows = read(chip, op, dtype, one.tables, one.where)
            assert rows
            error = np.abs(predicted(one.curve, find.part(chip), rows, None) / rows.seconds - 1)
            assert np.median(error) <= (0.15 if op == "column_sums" else 0.08)


DECODE = {"model": "llama-3-8b", "phase": "decode", "batch": 64, "context": 32000}


def test_a_step_reads_codes_by_their_own_kernel() -> None:
    """Faster than bf16 by less than the bytes: a page takes a warp several latencies; and never by arithmetic added."""
    full, kivi = (attention(hw="h100", policy=policy, **DECODE) for policy in ("full", "kivi"))
    assert 2.8 < full["seconds"] / kivi["seconds"] < 4.2  # 3.5 at 8 x 32,768 in docs/kernels_quantized.md
    assert "KIVI decode" in kivi["provenance"]
    assert "KIVI decode" not in attention(hw="l40s", policy="kivi", **DECODE)["provenance"]
    for other in ("kivi:bits=8", "think+kivi", "fp8"):  # of no kernel of their own
        assert "KIVI decode" not in attention(hw="h100", policy=other, **DECODE)["provenance"]


def test_a_step_reads_latents_by_their_own_kernel() -> None:
    shape = {"phase": "decode", "batch": 64, "context": 4096}
    one = attention(hw="h100", model="deepseek-v2-lite", policy="full", **shape)
    alone = kvsim.op("mla_decode", hw="h100", batch=64, context=4096, heads=16)
    assert "MLA decode" in one["provenance"]
    assert one["seconds"] / find.model("deepseek-v2-lite").layers == pytest.approx(float(alone.seconds), rel=0.2)


def attention(**shape: Any) -> dict[str, Any]:
    (one,) = [op for op in kvsim.step(**shape).to_json()["ops"] if op["name"] == "attention_decode"]
    return one


def test_pages_and_pieces_are_those_of_the_kernels() -> None:
    kivi_decode = pytest.importorskip("kernels_ref.kivi_decode", reason="needs torch")
    for rows, many, warps in ((8, 64, 12), (64, 256, 12), (512, 32, 12), (1024, 16, 8), (3, 1000, 8), (2000, 1, 12)):
        split = kivi_decode.choose(rows, many, 132, warps)
        found = chosen(np.array(float(rows)), np.array(float(many)), np.array(132.0 * warps))
        assert split.tokens == float(found) * kivi_decode.BLOCK
    torch = pytest.importorskip("torch", reason="needs torch")
    library = pytest.importorskip("kernels_ref.library", reason="needs torch")
    for batch, tokens in ((64, 2048), (64, 8192), (64, 32768), (128, 8192), (256, 32768), (256, 131072)):
        q, k = torch.empty(batch, 32, 8), torch.empty(8, tokens, 8)
        ctas = np.array(8.0 * -(-batch * 4 // 128))
        assert library.pieces_for(q, k, 132) == float(pieces(ctas, np.array(float(tokens)), 132))
