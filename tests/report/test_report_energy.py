"""Joules: measured coefficients where a chip has them, within what its board can draw."""

import kvsim
from kvsim import find


def watts(hw: str) -> tuple[float, float]:
    """(mean watts of one busy chip, its maximum)."""
    figures = kvsim.run("quickstart", hw=hw).figures
    spent_j = figures["joules_per_token"] * figures["output_tokens"]
    return spent_j / figures["duration_s"], find.machine(hw).chip.power


def test_a_run_draws_less_than_the_board_can_and_more_than_an_idle_one() -> None:
    for hw, idle_w in (("h100", 121.0), ("a100-80", find.machine("a100-80").chip.idle_power)):
        mean_w, most_w = watts(hw)
        assert idle_w < mean_w < most_w


def test_the_report_says_how() -> None:
    said = {hw: kvsim.run("quickstart", hw=hw).figures["assumptions"] for hw in ("h200", "l40s")}
    assert any("measured joules a FLOP" in line for line in said["h200"])
    assert any("maximum power while the GPU lane works" in line for line in said["l40s"])
