"""Curves that are made several at a time are those that would be made one by one."""

import numpy as np
import pytest

from kvsim import find
from kvsim.traits.layout import Layout
from kvsim.traits.policy import policy

PROMPTS, OUTPUTS = np.array([700, 90, 700, 3100, 512, 90]), np.array([40, 1, 90, 17, 130, 60])


@pytest.mark.parametrize("name", ["zipcache", "pyramidinfer", "pyramidkv", "qpruningkv", "d2o", "snapkv", "cake+kivi"])
def test_the_same_rows(name: str) -> None:
    model = find.model("llama-3.2-1b")
    ahead, alone = (Layout(policy(name), model, 1, 16) for _ in range(2))
    ahead.expect(PROMPTS, OUTPUTS)
    for prompt, output in [*zip(PROMPTS.tolist(), OUTPUTS.tolist(), strict=True), (90, 300), (41, 5)]:
        if output > 1:
            np.testing.assert_array_equal(ahead.demand(prompt, output - 1), alone.demand(prompt, output - 1))


def test_requests_that_never_come_do_no_harm() -> None:
    model = find.model("llama-3.2-1b")
    layout = Layout(policy("zipcache"), model, 1, 16)
    layout.expect(PROMPTS, OUTPUTS)
    assert layout.demand(512, 129).shape[1] == 129
    assert layout.demand(700, 39).shape[1] == 39  # came before, out of order: made by itself
