"""Sensitivity: the named factor flips what a plan decides, half of it does not."""

from pathlib import Path

import pytest
from decisions import Question, check, written
from hypothesis import given
from hypothesis import strategies as st

from kvsim import find
from kvsim.decide.perturb import FIGURES, perturbed
from kvsim.decide.sensitivity import least


@pytest.mark.parametrize("seed", [2])
def test_the_named_factor_flips_a_random_decision_and_half_of_it_does_not(seed: int, tmp_path: Path) -> None:
    assert check(Question(seed, tmp_path)) >= 1


@pytest.mark.parametrize("figure", FIGURES)
def test_a_perturbed_machine_differs_in_that_figure_alone(figure: str, tmp_path: Path) -> None:
    machine = find.machine("h100")
    changed = perturbed(machine, figure, 2.0)
    assert changed != machine and perturbed(changed, figure, 0.5) == machine
    assert perturbed(machine, figure, 1.0) == machine
    back = find.machine(written(changed, tmp_path, "changed"))
    assert back.price_usd_per_h == changed.price_usd_per_h
    assert back.chip.memory == changed.chip.memory and back.chip.peak == changed.chip.peak
    assert (back.host_link.bandwidth, back.host_link.latency) == (
        changed.host_link.bandwidth,
        changed.host_link.latency,
    )


def test_an_unknown_figure_is_a_defect() -> None:
    with pytest.raises(ValueError, match="unknown figure 'colour'"):
        perturbed(find.machine("h100"), "colour", 2.0)


@given(st.floats(0.001, 1.0), st.sets(st.integers(1, 64)))
def test_the_least_that_flips(from_here: float, others: set[int]) -> None:
    for rule in (lambda way: way >= from_here, lambda way: way == 1.0 or round(64 * way) in others):
        found = least(rule, 1.0)
        assert rule(found) and (found <= 1e-4 or not rule(found / 2))
    assert least(lambda way: way >= from_here, 1.0) <= from_here + 0.007
