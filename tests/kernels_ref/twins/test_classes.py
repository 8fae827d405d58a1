"""Token classes: who is of which class, what their codes are, and when they change."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import kvsim.find as find  # noqa: E402
from kernels_ref.twins.bits import unpack  # noqa: E402
from kernels_ref.twins.cache import begin  # noqa: E402
from kernels_ref.twins.classes import balancer  # noqa: E402
from kernels_ref.twins.compress import compress  # noqa: E402
from kernels_ref.twins.made_up import made_up  # noqa: E402
from kernels_ref.twins.part import Setting, part  # noqa: E402
from kvsim.traits.classes import SeparableCodes  # noqa: E402
from kvsim.traits.policy import policy  # noqa: E402

PROMPT = 40


def small():
    update = {"layers": 2, "heads": 4, "kv_heads": 2, "head_dim": 16, "hidden": 64, "vocab": 64, "window": None}
    return find.model("llama-3-8b").model_copy(update=update)


def full_attention(layer, upto: int):
    """[H, T, T] probabilities."""
    scores = layer.queries[:, :upto] @ layer.keys[:, :upto].repeat_interleave(2, 0).transpose(1, 2) / 4
    return scores.masked_fill(~torch.ones(upto, upto, dtype=torch.bool).tril(), -torch.inf).softmax(-1)


def steps(cache, states, many: int) -> None:
    for step in range(many):
        for i, layer in enumerate(states.layers):
            cache.attend(i, layer.slice(PROMPT + step, PROMPT + step + 1))


def test_mikv_halves_importance_between_the_newest_and_the_most_attended() -> None:
    states = made_up(small(), PROMPT)
    cache = begin("mikv:important=0.2", states)
    sums = full_attention(states.layers[0], PROMPT).sum(1).reshape(2, 2, -1).sum(1)
    for head in range(2):
        heavy = sums[head, :36].topk(4).indices.tolist()
        important = (cache.slots[0].kind[head] == 0).nonzero()[:, 0].tolist()
        assert important == sorted([*heavy, *range(36, 40)])


def test_mikv_demotes_one_token_a_step_for_good() -> None:
    states = made_up(small(), PROMPT + 12)
    cache = begin("mikv:important=0.2", states.slice(0, PROMPT))
    before = cache.slots[1].kind.clone()
    for step in range(12):
        for i, layer in enumerate(states.layers):
            cache.attend(i, layer.slice(PROMPT + step, PROMPT + step + 1))
        kind = cache.slots[1].kind
        assert ((before == 1) <= (kind[:, :-1] == 1)).all()
        assert ((kind == 0).sum(1) == int(np.ceil(0.2 * (PROMPT + step + 1)))).all()
        before = kind.clone()


def test_a_balanced_channel_is_as_loud_in_queries_as_in_keys() -> None:
    layer = made_up(small(), PROMPT).layers[0]
    factor = balancer(layer).float()
    queries = layer.queries.abs().amax(1).reshape(2, 2, -1).amax(1)
    balanced = (layer.keys * factor).abs().amax(1)
    assert torch.allclose(balanced, queries / factor[:, 0], rtol=1e-2)


def test_the_balancer_leaves_high_bits_alone() -> None:
    states = made_up(small(), PROMPT + 1)
    whole = compress("full", states.slice(0, PROMPT), states.slice(PROMPT, PROMPT + 1))
    mikv = compress("mikv:important=1", states.slice(0, PROMPT), states.slice(PROMPT, PROMPT + 1))
    for one, other in zip(whole.outputs, mikv.outputs, strict=True):
        assert torch.allclose(one, other, atol=2e-3)


def test_zipcache_ranks_by_the_mean_attention_of_its_probes() -> None:
    states = made_up(small(), PROMPT)
    cache = begin("zipcache:salient=0.25:probes=0.2", states)
    for i, layer in enumerate(states.layers):
        at = cache.retention.probes(i, PROMPT).tolist()
        assert at[-4:] == [36, 37, 38, 39] and len(set(at)) == 8
        mean = full_attention(layer, PROMPT).mean(0)[at]
        seen = torch.tensor([sum(p >= j for p in at) for j in range(PROMPT)]).clamp(min=1)
        best = (mean.sum(0) / seen).topk(10).indices.sort().values
        for kinds in cache.slots[i].kind:
            assert (kinds == 0).nonzero()[:, 0].tolist() == best.tolist()


def test_zipcache_codes_again_when_its_newest_are_enough() -> None:
    states = made_up(small(), PROMPT + 8)
    cache = begin("zipcache:gap=4", states.slice(0, PROMPT))
    for step in range(1, 9):
        steps_done = PROMPT + step - 1
        for i, layer in enumerate(states.layers):
            cache.attend(i, layer.slice(steps_done, steps_done + 1))
        kind = cache.slots[0].kind[0]
        assert (kind == 2).nonzero()[:, 0].tolist() == list(range(PROMPT + step - step % 4, PROMPT + step))
        coded = PROMPT + step - step % 4
        assert int((kind == 0).sum()) == int(0.6 * coded)
    assert not torch.equal(cache.slots[0].key[:, :PROMPT], states.layers[0].keys[:, :PROMPT])  # coded from codes


def test_separable_codes_of_a_worked_case() -> None:
    one = policy("zipcache")
    codec = part(SeparableCodes(4), Setting(one, small(), 3))
    value = torch.tensor([[[16.0, 1.0], [-4.0, 0.25]], [[4.0, 9.0], [2.0, 3.0]]])  # two heads, two tokens
    key = torch.arange(8.0).reshape(2, 2, 2)
    coded = codec.code(0, key, value, torch.arange(2).expand(2, -1))
    key_codes, _, key_minimum, value_codes, factor, scale, minimum = coded.tensors
    assert factor[:, 0].tolist() == [[4, 1], [2, 3]]
    assert minimum[:, 0].tolist() == [1, -1]
    assert (15 * scale[:, 0].float()).tolist() == pytest.approx([3, 2], rel=1e-3)  # fp16
    assert unpack(value_codes[0], 4, 4).tolist() == [15, 0, 0, 9]  # 4, 1 of [1, 4]; -1, 0.25 of [-1, 1]
    assert unpack(value_codes[1], 4, 4).tolist() == [5, 10, 15, 15]  # 2, 3; 1, 1
    assert key_minimum.flatten().tolist() == [0, 1, 4, 5] and unpack(key_codes[0], 4, 4).tolist() == [0, 0, 15, 15]
    assert torch.allclose(coded.value[0, 0], value[0, 0], rtol=1e-2)
    assert torch.allclose(coded.key, key, atol=1e-2)


def test_zipvl_takes_the_fewest_tokens_that_hold_the_threshold() -> None:
    states = made_up(small(), PROMPT)
    one = policy("zipvl:threshold=0.8:queries=8")
    retention = part(one.retention, Setting(one, small(), PROMPT))
    shares = retention.measure(states)["important_tokens"].values
    for i, layer in enumerate(states.layers):
        mass = full_attention(layer, PROMPT).mean(0)[retention.probes(i, PROMPT)].sum(0).sort(descending=True).values
        many = round(shares[i] * PROMPT)
        assert mass[:many].sum() >= 0.8 * mass.sum() * (1 - 1e-5) and mass[: many - 1].sum() < 0.8 * mass.sum()


def test_qpruningkv_codes_what_snapkv_keeps_of_the_prompt() -> None:
    states = made_up(small(), PROMPT + 3)
    cache = begin("qpruningkv:budget=5:bits=4:window=4", states.slice(0, PROMPT))
    snap = begin("snapkv:capacity=20:window=4", states.slice(0, PROMPT))
    assert [x.tolist() for x in cache.kept()[1]] == [x.tolist() for x in snap.kept()[1]]
    steps(cache, states, 3)
    assert cache.slots[1].kind[0].tolist() == [0] * 20 + [1] * 3
    cache._encode()
    assert torch.equal(cache.read[1].key[:, -3:], states.layers[1].keys[:, PROMPT:].half().float())
    assert not torch.equal(cache.read[1].key[:, :20], snap.read[1].key)
