"""The search for FlexGen's percentages: what it finds is what `step` prices, fits, and beats what is near."""

import json

import pytest
from click.testing import CliRunner

import kvsim
from kvsim.cli.main import cli
from kvsim.decide.bestsplit import best_split
from kvsim.errors import UserError


def percents(policy: str) -> dict[str, int]:
    return {name: int(value) for name, value in (pair.split("=") for pair in policy.split(":")[1:])}


@pytest.mark.parametrize(
    ("hw", "model", "batch", "context"),
    [
        ("rtx4090+nvme", "opt-30b", 8, 1024),
        ("rtx4090", "llama-3-8b", 16, 8192),
        ("a6000+2nvme5", "llama-3-70b", 64, 2048),
    ],
)
def test_no_split_near_it_is_faster(hw: str, model: str, batch: int, context: int) -> None:
    found = best_split(hw=hw, model=model, batch=batch, context=context)
    at = {"hw": hw, "model": model, "batch": batch, "context": context}
    seconds = float(kvsim.step(policy=found.policy, **at).seconds)
    assert seconds == float(found.step.seconds) and found.batch == batch
    best = percents(found.policy)
    for key in best:
        for other in (key.replace("hbm", "dram"), None):
            moved = dict(best)
            if best[key] < 5 or (other and (other == key or moved[other] + 5 > 100)):
                continue
            moved[key] -= 5  # keeps no more in HBM, so it fits there
            if other and key.endswith("hbm"):
                moved[other] += 5
            elif "nvme" not in hw:
                continue
            text = "flexgen:" + ":".join(f"{name}={value}" for name, value in moved.items())
            assert float(kvsim.step(policy=text, **at).seconds) >= seconds * (1 - 1e-9), text


def test_what_it_finds_fits_an_engine() -> None:
    """A replay with as many sequences of that length keeps them all at once, under the invariants."""
    found = best_split(hw="rtx4090+nvme", model="opt-13b", batch=16, context=1024)
    report = kvsim.run(
        "quickstart", hw="rtx4090+nvme", model="opt-13b", policy=found.policy, limit=20, check=True,
        settings={"max_model_len": 1024},
    )  # fmt: skip
    assert report.figures["kv_capacity_tokens"] >= 16 * 1024 * 0.98


def test_larger_batches_pay_for_the_weights() -> None:
    one, several = (best_split(hw="rtx4090+nvme", model="opt-30b", batch=batch, context=512) for batch in (1, 0))
    assert several.batch > 64 and several.tokens_per_s > 10 * one.tokens_per_s


def test_the_command_says_what_it_found() -> None:
    words = [
        "step",
        "--hw",
        "rtx4090+nvme",
        "--model",
        "opt-30b",
        "--policy",
        "flexgen",
        "--best-split",
        "--batch",
        "4",
    ]
    shown = CliRunner().invoke(cli, words)
    assert shown.exit_code == 0 and "best split: flexgen:cache_hbm=" in shown.output
    found = json.loads(CliRunner().invoke(cli, [*words, "--json"]).output)
    assert found["split"]["batch"] == 4 and found["split"]["tokens_per_s"] == 4 / found["seconds"]
    assert found["split"]["fit"] <= found["split"]["tried"]


def test_what_is_refused() -> None:
    with pytest.raises(UserError, match="fits on rtx4090 under no split"):
        best_split(hw="rtx4090", model="llama-3-70b", batch=4096, context=1 << 20)
    for words in (["--policy", "full"], ["--policy", "flexgen", "--phase", "prefill"]):
        with pytest.raises(UserError, match="--best-split searches"):
            CliRunner().invoke(
                cli, ["step", "--hw", "rtx4090", "--model", "opt-13b", "--best-split", *words], catch_exceptions=False
            )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("flexgen:cache_hbm=101", "cache_hbm must be 0 to 100"),
        ("flexgen:cache_hbm=50:cache_dram=60", "at most 100 together"),
        ("flexgen:cache_hbm=100:cache_dram=0", "that is policy full"),
        ("flexgen+headinfer", "both set placement"),
    ],
)
def test_percentages_are_checked(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        kvsim.step(hw="rtx4090", model="opt-13b", policy=text)


def test_bytes_rest_where_the_percentages_say() -> None:
    """OPT-13B, 8 sequences of 1,024: 6.71 GB of cache, a half in HBM with two layers of the rest, 30 % in DRAM."""
    policy = "flexgen:cache_hbm=50:cache_dram=30:weights_hbm=40:weights_dram=60"
    found = kvsim.step(hw="rtx4090+nvme", model="opt-13b", policy=policy, batch=8, context=1024)
    whole = 8 * 1024 * 819_200
    assert found.kv_bytes["hbm"] == whole // 2 + whole // 2 * 2 // 40
    moved = {op.name: op.lane for op in found.ops if op.kind == "copy"}
    bytes_ = {(op.name, op.lane): float(op.count * op.bytes) for op in found.ops if op.kind == "copy"}
    assert bytes_["fetch_cache_dram", "h2d"] == pytest.approx(0.3 * whole)
    assert bytes_["fetch_cache_flash", "nvme_read"] == bytes_["fetch_cache_flash", "h2d"] == pytest.approx(0.2 * whole)
    weights = kvsim.step(hw="rtx4090+nvme", model="opt-13b", policy="flexgen:weights_hbm=0:weights_dram=100")
    all_of_them = next(float(op.count * op.bytes) for op in weights.ops if op.name == "fetch_weights_dram")
    assert (
        bytes_["fetch_weights_dram", "h2d"] == pytest.approx(0.6 * all_of_them) and "fetch_weights_flash" not in moved
    )
