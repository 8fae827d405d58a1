"""A preset says whose kernels price its steps; where none was measured, and without one, a class's first one does."""

from collections.abc import Callable

import numpy as np
import pytest

import kvsim
from kvsim import find
from kvsim.cost.calibration import Calibrated
from kvsim.cost.curves import Floats
from kvsim.cost.rates import Rates
from kvsim.cost.source import Source
from kvsim.errors import UserError
from kvsim.replay import serving_preset
from kvsim.validate.instep import seconds
from kvsim.validate.rows import Rows
from kvsim.validate.vllmplans import ATTENTION, CUSTOM, NCCL

MIB = 2.0**20


def sources(**options: str) -> dict[str, Source]:
    step = kvsim.step(hw="h100x2", model="llama-3-8b", phase="mixed", batch=4, context=1000, **options)  # type: ignore[arg-type]
    return {op.kind: source for op, source in zip(step.ops, step.sources, strict=True)}


def test_a_step_names_the_kernels_of_its_engine() -> None:
    plain, engine, executor = sources(), sources(serving="vllm"), sources(serving="executor")
    for found, all_reduce, attention in (
        (plain, NCCL, "kernels_ref decode"),
        (engine, CUSTOM, ATTENTION),
        (executor, NCCL, "kernels_ref decode"),
    ):
        assert all_reduce in found["all_reduce"].text
        assert attention in found["attention_decode"].text
        assert "torch.mm" in found["gemm"].text
    assert ATTENTION in engine["attention_prefill"].text
    assert sources(serving="vllm:kernels=NCCL")["all_reduce"] == plain["all_reduce"]


def test_a_run_names_them_too() -> None:
    report = kvsim.run("quickstart", hw="h100", limit=5)
    assert ATTENTION in report.figures["provenance"]["rates"]
    own = kvsim.run("quickstart", hw="h100", limit=5, settings={"kernels": ""})
    assert ATTENTION not in own.figures["provenance"]["rates"]
    assert own.figures["busy"] != report.figures["busy"]


def test_words_are_tried_in_order() -> None:
    curves = find.calibrated("h100-sxm")
    assert curves.preferring(["no such kernel"]) is curves
    for words, kernel in ((["of vLLM", "SDPA"], ATTENTION), (["SDPA", "of vLLM"], "SDPA cuDNN")):
        found = curves.preferring(words)
        one, steps = found.curve("attention_decode", "bf16"), found.in_steps("attention_decode")
        assert one and steps
        assert one.kernel == steps.kernel == kernel
        assert found.kernels("gemm", "bf16") == curves.kernels("gemm", "bf16")
    assert find.machine("a6000").preferring("of vLLM").curves == find.machine("a6000").curves


@pytest.mark.parametrize(
    "call",
    [
        lambda: kvsim.run("quickstart", hw="h100", limit=5, settings={"kernels": "torch.mm,of vLM"}),
        lambda: kvsim.op("gemm", hw="h100", m=1, n=8, k=8, kernels="of vLM"),
    ],
)
def test_a_word_that_no_kernel_has_is_refused(call: Callable[[], object]) -> None:
    with pytest.raises(UserError, match="unknown kernel 'of vLM'"):
        call()


def test_kernels_of_an_op() -> None:
    shape = {"bytes": np.array([8, 1e6, 1e8]), "gpus": 2}
    ours, theirs = (kvsim.op("all_reduce", hw="h100x2", kernels=words, **shape) for words in ("", "of vLLM"))
    assert NCCL in ours.provenance and CUSTOM in theirs.provenance
    ratio: Floats = np.asarray(theirs.seconds) / np.asarray(ours.seconds)
    assert ratio[:2].max() < 0.8 and 0.8 < ratio[2] < 1.2


@pytest.mark.parametrize(("gpus", "size"), [(2, 8 * MIB), (4, 8 * MIB), (8, 0.25 * MIB)])
def test_an_engines_own_all_reduce_ends_at_a_size(gpus: int, size: float) -> None:
    """Below it a chip reads its peers' memory; from it on, symmetric memory or NCCL carry the message."""
    rates = Rates.of(find.machine("h100x8").preferring("of vLLM"), gpus)
    one = rates.peer_curves.curve("all_reduce", "bf16")
    assert one
    parts = [one.curve.parts(rates.peer, {"bytes": size * by, "gpus": gpus}) for by in (0.5, 0.999, 1.001)]
    starts = [float(part["latency"]) for part in parts]
    assert starts[2] > starts[0]
    took = [sum(float(value) for value in part.values()) for part in parts]
    assert took == sorted(took)


@pytest.mark.parametrize(("tp", "ours_us", "nccl_us"), [(2, 8.34, 14.74), (4, 12.76, 18.12), (8, 14.97, 25.40)])
def test_all_reduces_of_a_model_on_several_chips(tp: int, ours_us: float, nccl_us: float) -> None:
    """64 rows of Llama-3-70B are 1 MiB: what vLLM 0.24 and NCCL 2.29 took between H100s (nvlink4/all_reduce.csv)."""
    for preset, measured_us in (("vllm", ours_us), ("executor", nccl_us)):
        step = kvsim.step(hw=f"h100x{tp}", model="llama-3-70b", batch=64, context=4096, serving=preset)
        ((op, took),) = [pair for pair in zip(step.ops, step.op_seconds, strict=True) if pair[0].name == "all_reduce"]
        assert op.count == 160
        assert float(took) / 160 == pytest.approx(measured_us * 1e-6, rel=0.11)


def test_pieces_of_heads_that_share_no_keys_cost_more() -> None:
    """FlashAttention-3 starts a piece for each kv head: 32 of them at equal bytes take longer than 8."""
    preset = serving_preset("vllm")
    curves: Calibrated | None = find.machine("h100").preferring(preset.kernels).curves
    assert curves
    found, one = curves.in_steps("attention_decode"), curves.curve("attention_decode", "bf16")
    assert found and one
    shape = {"batch": [16.0, 64], "context": [2000.0, 2000], "heads": [32.0, 32], "kv_heads": [32.0, 8]}
    columns = {key: np.array(value) for key, value in shape.items()} | {"head_dim": np.full(2, 128.0)}
    rows = Rows("attention_decode", "bf16", columns, np.ones(2))
    chip = find.machine("h100").chip
    for took in (seconds(found, chip, rows), one.curve.seconds(chip, rows.keyed)):
        assert took[0] == pytest.approx(took[1], rel=0.1)
    more = dict(columns, batch=np.array([16.0, 16]), kv_heads=np.array([32.0, 8]), context=np.array([2000.0, 8000]))
    alike = Rows("attention_decode", "bf16", more, np.ones(2))
    assert np.diff(seconds(found, chip, alike))[0] < 0


def test_heads_with_a_kv_head_each_have_coefficients_of_their_own() -> None:
    """Where the kernel that is taken has some: 85 sequences of Llama-2-7B are then priced as its curve says."""
    machine = find.machine("h100")
    curves = machine.preferring(serving_preset("vllm").kernels).curves
    assert curves and machine.curves
    apart, shared = curves.in_steps("attention_decode", alone=True), curves.in_steps("attention_decode")
    one = curves.curve("attention_decode", "bf16")
    assert apart and shared and one and apart.alone and not shared.alone and apart.kernel == shared.kernel == one.kernel
    ours = machine.curves.in_steps("attention_decode", alone=True)
    assert ours and ours == machine.curves.in_steps("attention_decode")
    assert curves.in_steps("attention_prefill", alone=True) == curves.in_steps("attention_prefill")
    shape = {"batch": [85.0], "context": [700.0], "heads": [32.0], "kv_heads": [32.0], "head_dim": [128.0]}
    rows = Rows("attention_decode", "bf16", {key: np.array(value) for key, value in shape.items()}, np.ones(1))
    told, by_curve = seconds(apart, machine.chip, rows), one.curve.seconds(machine.chip, rows.keyed)
    assert told[0] == pytest.approx(by_curve[0], rel=0.03)
    assert abs(told[0] - by_curve[0]) < abs(seconds(shared, machine.chip, rows)[0] - by_curve[0])


def test_a_step_takes_them() -> None:
    """Llama-2-7B has as many kv heads as query heads, Llama-3-8B a quarter."""
    rates = Rates.of(find.machine("h100").preferring(serving_preset("vllm").kernels), 1)
    for model, alone in (("llama-2-7b", True), ("llama-3-8b", False)):
        step = kvsim.step(hw="h100", model=model, batch=16, context=2000, serving="vllm")
        (op,) = [op for op in step.ops if op.kind == "attention_decode"]
        found = rates.coefficients(op)
        assert found and found.alone == alone
