"""Datasheet rates: what usual shares make of chips that were not measured."""

from dataclasses import replace
from typing import Any

import pytest

import kvsim
from kvsim import find, oneop
from kvsim.cost.calibration import NOTHING
from kvsim.cost.rates import Rates
from kvsim.cost.source import datasheet, notes


def rates(chip: str) -> Rates:
    """Of a chip as if nothing had been measured."""
    return replace(Rates.of(find.machine("a6000"), 1), chip=find.part(chip), curves=NOTHING)


def reached(chip: str, kind: str, **shape: Any) -> float:
    """Share of the tensor cores' peak of a large Op."""
    op = oneop.KINDS[kind](**shape)
    found = rates(chip)
    return float(op.flops["bf16"] / found.seconds(op) / found.chip.peak.bf16)


LARGE = {"m": 16384, "n": 16384, "k": 16384}
PROMPT = {"batch": 64, "new": 8192, "heads": 32, "kv_heads": 8, "head_dim": 128}


@pytest.mark.parametrize(("chip", "share"), [("a100-sxm-80gb", 0.70), ("l40s", 0.70), ("rtx-4090", 0.70 / 0.85)])
def test_a_geforce_gets_nearer_to_its_halved_peak(chip: str, share: float) -> None:
    """Products take twice as long, all else does not: 1 / (1 + 0.43 / 2)."""
    assert reached(chip, "gemm", **LARGE) == pytest.approx(share, rel=1e-3)
    assert find.part(chip).peak.slowed == pytest.approx(2 if chip == "rtx-4090" else 1, rel=1e-3)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("chip", "share"), [("a100-sxm-80gb", 0.55), ("h100-sxm", 0.35), ("h200-sxm", 0.35), ("rtx-4090", 0.71)]
)
def test_flash_attention_2_by_generation(chip: str, share: float) -> None:
    """Without Hopper's own products it gets 35 % of an H100 (arXiv 2407.08608)."""
    assert reached(chip, "attention_prefill", **PROMPT) == pytest.approx(share, rel=0.01)


def test_a_prompts_last_tile_runs_alone() -> None:
    """16 tokens of 2 heads after 65,536: two of 84 SMs work; a chip with twice the clock halves it, more SMs do not."""
    few = {"batch": 1, "new": 16, "past": 65536, "heads": 2, "kv_heads": 1, "head_dim": 128}
    found = kvsim.op("attention_prefill", hw="a6000", **few)
    assert found.bound == "longest tile"
    more_heads = kvsim.op("attention_prefill", hw="a6000", **(few | {"heads": 8, "kv_heads": 4}))
    assert more_heads.seconds == found.seconds
    assert kvsim.op("attention_prefill", hw="a6000", **(few | {"past": 131072})).seconds > 1.9 * found.seconds


def test_the_margin_that_was_shown_is_said() -> None:
    assert kvsim.op("gemm", hw="a6000", m=1, n=4096, k=4096).expected_error == 0.25
    assert kvsim.op("grouped_gemm", hw="a6000", rows=8, used=8, n=4096, k=4096).expected_error == 0.35
    said = notes([("gemm", datasheet("gemm")), ("elementwise", datasheet("elementwise"))])
    assert len(said) == 2
    assert "expect +-25%" in said[0] and "expect +-40%" in said[1]
    assert all("left out" in one for one in said)
    assert "no measured chip has shown" in notes([("column_sums", datasheet("column_sums"))])[0]
