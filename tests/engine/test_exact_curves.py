"""Jumps equal single steps on chips whose kernels are priced by fitted curves, with decodes beside chunks."""

import pytest

import kvsim


@pytest.mark.parametrize("policy", ["full", "snapkv", "kivi", "headinfer"])
@pytest.mark.parametrize("hw", ["rtx4090", "a100-80"])
def test_jumps_equal_steps(hw: str, policy: str) -> None:
    jumped, stepped = (kvsim.run("quickstart", hw=hw, policy=policy, limit=60, exact=exact) for exact in (False, True))
    for figures in (jumped.figures, stepped.figures):
        assert figures.pop("wall_s") > 0 and figures.pop("events") > 0
    assert jumped.figures == stepped.figures
    assert not jumped.figures["provenance"]["rates"].startswith("datasheet")
