"""Shares of layers as prompts show them, against each paper's formula written out here."""

import math
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from kernels_ref.twins.cache import begin  # noqa: E402
from kernels_ref.twins.layer_budgets import clusters  # noqa: E402
from kernels_ref.twins.made_up import made_up  # noqa: E402
from kvsim.errors import UserError  # noqa: E402

from .naive import attention  # noqa: E402
from .test_compress import tiny  # noqa: E402

PROMPT = 70


@pytest.fixture(scope="module")
def states():
    """Layers that attend ever more sharply."""
    made = made_up(tiny(4), PROMPT, seed=7)
    sharper = [replace(x, queries=x.queries * (1 + i)) for i, x in enumerate(made.layers)]
    return replace(made, layers=tuple(sharper))


def test_cakes_preference_is_entropy_times_variance(states):
    cache = begin("cake:capacity=30:window=5:tau1=2:tau2=0.5", states)
    expected = []
    for layer in states.layers:
        shown = torch.stack([attention(layer, head)[-5:, :-5] for head in range(4)])
        entropy = sum(-p * math.log(p + 1e-10) for p in shown.flatten().tolist())
        expected.append(entropy**0.5 * float(shown.var(1).sum()) ** 2)
    assert cache.seen["layer_preference"].values == pytest.approx(expected, rel=1e-3)
    pool = [int(value / sum(expected) * 4 * 25) + 5 for value in expected]
    assert [len(layer[0]) for layer in cache.kept()] == [min(PROMPT, tokens) for tokens in pool]


def test_zigzags_uncertainty_is_how_many_tokens_hold_the_attention(states):
    cache = begin("zigzagkv:keep=0.4:window=5", states)
    for layer, value in zip(states.layers, cache.seen["layer_uncertainty"].values, strict=True):
        counts = []
        for head in range(4):
            for row in attention(layer, head)[-5:].tolist():
                sums, many = 0.0, 0
                for p in sorted(row, reverse=True):
                    sums, many = sums + p, many + 1
                    if sums >= 0.9:
                        break
                counts.append(many)
        assert value == pytest.approx(sum(counts) / len(counts), abs=0.11)  # ties of rounding at the border
    lengths = [len(layer[0]) for layer in cache.kept()]
    assert lengths == sorted(lengths, reverse=True) and lengths[0] > lengths[3]


def test_d2os_density_is_the_softmax_of_minus_the_variance(states):
    cache = begin("d2o", states)
    variances = []
    for layer in states.layers:
        each = torch.stack([attention(layer, head).sum(0).var(correction=0) for head in range(4)])
        variances.append(float(((each - each.min()) / (each.max() - each.min() + 1e-6)).mean()))
    total = sum(math.exp(-v) for v in variances)
    assert cache.seen["layer_density"].values == pytest.approx([4 * math.exp(-v) / total for v in variances], rel=1e-4)


def test_squeezeattention_finds_layers_that_turn_nothing():
    made = made_up(tiny(5), PROMPT, seed=8)
    turns = (1.0, 0.01, 1.1, 0.5, 0.012)
    layers = [
        replace(x, after=x.before + turn * x.before.roll(1, 1)) for x, turn in zip(made.layers, turns, strict=True)
    ]
    cache = begin("squeezeattention:keep=0.4:low=0.2:sinks=2", replace(made, layers=tuple(layers)))
    assert cache.seen["low_layers"].values == (0.0, 1.0, 0.0, 0.0, 1.0)
    high = int((5 * 0.4 - 2 * 0.2) / 3 * PROMPT)
    assert [len(layer[0]) for layer in cache.kept()] == [high, 14, high, high, 14]
    assert cache.kept()[1][0].tolist() == [0, 1, *range(PROMPT - 12, PROMPT)]


def test_squeezeattention_computes_the_residual_stream_if_it_must():
    made = made_up(tiny(3), PROMPT, seed=8)
    bare = replace(made, layers=tuple(replace(x, after=None) for x in made.layers))
    full = []
    for layer, weights in zip(made.layers, made.projections, strict=True):
        heads = [attention(layer, head) @ layer.values[head // 2].double() for head in range(4)]
        full.append(replace(layer, after=layer.before + torch.cat(heads, 1).float() @ weights.output.T))
    found, expected = (begin("squeezeattention", x).seen for x in (bare, replace(made, layers=tuple(full))))
    assert found == expected
    without = replace(bare, layers=tuple(replace(x, before=None) for x in bare.layers))
    with pytest.raises(UserError, match="residual stream"):
        begin("squeezeattention", without)


def test_clusters_of_numbers():
    found = clusters(torch.tensor([0.1, 0.9, 0.11, 0.5, 0.95, 0.52]).double(), 3)
    assert found.tolist() == [0, 2, 0, 1, 2, 1]
    assert clusters(torch.full((4,), 0.5).double(), 3).unique().numel() == 1


def test_a_given_profile_holds_against_what_the_prompt_shows(states):
    from kvsim.traits.profile import Figure

    given = {"layer_preference": Figure((1.0, 1.0), 0.0, "given")}
    kept = begin("cake:capacity=30:window=5", states, profile=given).kept()
    assert [len(layer[0]) for layer in kept] == [30] * 4
