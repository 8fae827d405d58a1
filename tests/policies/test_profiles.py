"""Measured profiles: each belongs to a policy, names figures that the policy takes, and is in use."""

import pytest

import kvsim.find as find
from kvsim.traits.policy import policy
from kvsim.traits.profile import ASSUMED, assumed

FILES = sorted((find.ROOT / "workloads/profiles").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_profile_is_its_papers(path) -> None:
    paper = policy(path.stem).papers[0]
    for name, figure in find.profile(path.stem).items():
        assert name in paper.figures
        assert paper.profile()[name] == figure and figure.source != ASSUMED
        assert figure.spread >= 0 and all(value >= 0 for value in figure.values)


def test_figures_that_are_given_hold_instead_of_measured_ones() -> None:
    given = {"layer_preference": assumed(1.0, 3.0), "unknown": assumed(2.0)}
    found = policy("cake", profile=given)
    assert found.papers[0].profile() == {"layer_preference": given["layer_preference"]}
    assert found.assumed and policy("cake").papers[0].profile() != found.papers[0].profile()
