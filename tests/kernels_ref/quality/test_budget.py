"""Settings of equal bytes."""

import numpy as np
import pytest

from kernels_ref.quality.budget import as_published, at_budget, named
from kvsim import find
from kvsim.errors import UserError
from kvsim.traits.layout import Layout
from kvsim.traits.policy import policy

MODEL, TOKENS = find.model("smollm2-135m"), 1536
WITH_KNOB = [name for name in find.paper_names("kv") if find.paper("policy", "kv", name).knob]


def test_a_fixed_capacity_is_the_share_of_the_prompt():
    assert at_budget("snapkv", 0.25, MODEL, TOKENS).text == "snapkv:capacity=384"
    assert at_budget("random", 0.1, MODEL, TOKENS).text == "random:keep=0.1"


def test_what_else_is_set_stays():
    assert at_budget("snapkv:window=8", 0.5, MODEL, TOKENS).text == "snapkv:window=8:capacity=768"


def test_fields_that_scale_together_keep_their_proportion():
    paper = at_budget("h2o:recent=0.1", 0.25, MODEL, TOKENS)
    assert paper.text == "h2o:recent=0.1" and paper.reached  # one was given, so the other is the user's too
    free = at_budget("h2o", 0.25, MODEL, TOKENS).policy.papers[0]
    assert free.heavy == free.recent


def test_of_two_parts_the_first_is_sized_at_the_other_s_bytes():
    found = at_budget("snapkv+kivi", 0.1, MODEL, TOKENS)
    capacity = int(found.text.removeprefix("snapkv:capacity=").removesuffix("+kivi"))
    n = np.array([TOKENS])
    stored = [
        Layout(policy(f"snapkv:capacity={c}+kivi"), MODEL, 1, 1).stored(n, n)[0] for c in (capacity, capacity + 1)
    ]
    assert stored[0] <= 0.1 * TOKENS * MODEL.kv_bytes_per_token < stored[1]


def test_few_bits_take_the_nearest_below():
    assert at_budget("kivi", 0.25, MODEL, TOKENS).text == "kivi:bits=2"
    smallest = at_budget("kivi", 0.1, MODEL, TOKENS)
    assert not smallest.reached and smallest.text == "kivi:bits=2" and smallest.share > 0.1


def test_a_policy_that_reads_a_part_is_held_to_what_it_reads():
    found = at_budget("quest", 0.25, MODEL, TOKENS)
    assert found.basis == "read" and found.share <= 0.25
    assert as_published("quest:budget=1536:dense_layers=0", MODEL, TOKENS).share > 1  # all pages, and their bounds


def test_without_a_knob_a_policy_is_as_it_is():
    assert at_budget("fp8", 0.5, MODEL, TOKENS).reached and not at_budget("full", 0.5, MODEL, TOKENS).reached


@pytest.mark.parametrize("name", WITH_KNOB)
@pytest.mark.parametrize("budget", [0.5, 0.1])
def test_every_knob_turns(name, budget):
    """Settings are valid, at most the budget where reached, and a smaller budget never stores more."""
    found = at_budget(name, budget, MODEL, TOKENS)
    assert named(found.text).name == found.text
    if found.reached:
        assert found.share <= budget
        assert found.share >= at_budget(name, budget / 2, MODEL, TOKENS).share
    else:
        assert found.share > budget


def test_an_unknown_policy_is_one_line():
    with pytest.raises(UserError, match="snapvk"):
        named("snapvk")
    with pytest.raises(UserError, match="keep must be in"):
        named("random:keep=2")
