"""Scores of keys alone, and sinks with a window: kept positions against definitions written out here."""

import math

import pytest

torch = pytest.importorskip("torch")

from kernels_ref.twins.cache import begin  # noqa: E402
from kernels_ref.twins.made_up import made_up  # noqa: E402

from .naive import top  # noqa: E402
from .test_compress import tiny  # noqa: E402


def test_l2_norm_keeps_the_smallest_keys_of_long_prompts_behind_two_layers():
    states = made_up(tiny(4), 81, seed=1)
    kept = begin("l2-norm-kv:keep=0.3:above=80", states).kept()
    assert [len(layer[0]) for layer in kept] == [81, 81, 24, 24]
    for layer, heads in zip(states.layers[2:], kept[2:], strict=True):
        for keys, head in zip(layer.keys.tolist(), heads, strict=True):
            norms = {at: -math.sqrt(sum(x * x for x in key)) for at, key in enumerate(keys)}
            assert head.tolist() == top(norms, 24)
    whole = begin("l2-norm-kv:keep=0.3:above=80", states.slice(0, 80)).kept()
    assert [len(layer[0]) for layer in whole] == [80] * 4


def test_l2_norm_keeps_what_is_generated():
    states = made_up(tiny(3), 64, seed=1)
    cache = begin("l2-norm-kv:keep=0.5:above=10", states.slice(0, 60))
    before = cache.kept()[2][0].tolist()
    for i, layer in enumerate(states.layers):
        cache.attend(i, layer.slice(60, 64))
    assert cache.kept()[2][0].tolist() == [*before, 60, 61, 62, 63]


@pytest.mark.parametrize(("prompt", "kept"), [(10, range(10)), (23, range(23)), (24, [0, 1, 2, *range(4, 24)])])
def test_streaming_keeps_the_first_and_the_newest(prompt, kept):
    found = begin("streaming:sinks=3:window=20", made_up(tiny(), prompt)).kept()
    assert all(head.tolist() == list(kept) for layer in found for head in layer)


def test_q_filters_keep_keys_that_lie_where_queries_do():
    """Power iteration finds the direction here; it points to the side of the mean query."""
    states, text = made_up(tiny(), 70, seed=5), made_up(tiny(), 200, seed=6)
    cache = begin("q-filters:budget=30:recent=4", states, calibration=text)
    for i, layer in enumerate(states.layers):
        for kv_head in range(2):
            queries = text.layers[i].queries[2 * kv_head : 2 * kv_head + 2].flatten(0, 1).double()
            direction = torch.ones(32).double()
            for _ in range(2000):
                direction = queries.T @ (queries @ direction)
                direction = direction / direction.norm()
            direction = direction * (queries.mean(0) @ direction).sign()
            scores = dict(enumerate((layer.keys[kv_head].double() @ direction.half().double()).tolist()))
            older = {at: scores[at] for at in range(66)}
            assert cache.kept()[i][kv_head].tolist() == [*top(older, 26), 66, 67, 68, 69]


def test_q_filters_score_a_new_key_once():
    states = made_up(tiny(), 42, seed=5)
    cache = begin("q-filters:budget=30:recent=4", states.slice(0, 40))
    for i, layer in enumerate(states.layers):
        cache.attend(i, layer.slice(40, 41))
    slots = cache.slots[0]
    again = cache.retention.scorer.scores(0, slots.key)
    torch.testing.assert_close(slots.extra["score"], again)
    assert slots.counts.tolist() == [30, 30] and 40 in cache.kept()[0][0].tolist()
