"""Merges against their definitions: who joins whom, with which weights, and what attention makes of it."""

import math
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

import kvsim.find as find  # noqa: E402
from kernels_ref.twins.attention import attend  # noqa: E402
from kernels_ref.twins.cache import begin  # noqa: E402
from kernels_ref.twins.made_up import made_up  # noqa: E402
from kernels_ref.twins.merges import others  # noqa: E402
from kernels_ref.twins.part import Setting, part  # noqa: E402
from kernels_ref.twins.slots import Slots  # noqa: E402
from kvsim.traits.policy import policy  # noqa: E402


def small(layers: int = 2, kv_heads: int = 2):
    update = {
        "layers": layers,
        "heads": 4,
        "kv_heads": kv_heads,
        "head_dim": 16,
        "hidden": 64,
        "vocab": 64,
        "window": None,
    }
    return find.model("llama-3-8b").model_copy(update=update)


def fate_of(name: str, prompt: int = 8):
    one = policy(name)
    return part(one.retention.fate, Setting(one, small(kv_heads=1), prompt))


def slots_of(*keys: tuple[float, float]) -> Slots:
    """One head; a token's value is its position."""
    key = torch.tensor([keys], dtype=torch.float32)
    at = torch.arange(len(keys))
    return Slots.of(at, key, at[None, :, None].float())


def test_others_are_those_that_do_not_stay() -> None:
    slots = slots_of(*[(1.0, 0.0)] * 5).take(torch.tensor([[0, 1, 2, 3, -1]]))
    assert others(slots, torch.tensor([[0, 3, -1]])).tolist() == [[1, 2]]
    assert others(slots, torch.tensor([[0, 1, 2, 3]])).shape == (1, 0)


def test_d2o_merges_what_reaches_the_mean_of_the_best_cosines() -> None:
    fate = fate_of("d2o")
    slots = slots_of((1, 0), (0, 1), (1, 0.1), (-1, 0.2))  # best cosines: 0.995 with token 0, 0.196 with token 1
    found = fate.taken(0, slots, torch.tensor([[0, 1]]), at_decode=False)
    best = [1 / math.hypot(1, 0.1), 0.2 / math.hypot(1, 0.2)]
    weight = math.exp(best[0])
    assert found.value[0, 0].item() == pytest.approx((math.e * 0 + weight * 2) / (math.e + weight))
    assert found.key[0, 0].tolist() == pytest.approx([1, weight * 0.1 / (math.e + weight)])
    assert found.value[0, 1].item() == 1  # the token below the threshold is gone
    assert fate.threshold[0][0].item() == pytest.approx(sum(best) / 2)
    assert (fate.merged, fate.lost) == (1, 2)


def test_d2o_moves_its_threshold_half_way_to_each_later_cosine() -> None:
    fate = fate_of("d2o")
    fate.threshold[1][:] = 0.6
    slots = slots_of((1, 0), (0, 1), (0.8, 0.6))
    found = fate.taken(1, slots, torch.tensor([[0, 1]]), at_decode=True)
    assert fate.threshold[1][0].item() == pytest.approx(0.7)
    assert found.value[0, 0].item() > 0
    fate.threshold[1][:] = 0.9
    found = fate.taken(1, slots, torch.tensor([[0, 1]]), at_decode=True)  # 0.8 stays below 0.85
    assert found.value[0, 0].item() == 0


def test_what_zeromerge_merges_of_equal_tokens_attention_does_not_notice() -> None:
    fate = fate_of("zeromerge")
    slots = slots_of((1, 0), (0, 1), (1, 0), (1, 0))
    slots = replace(slots, value=slots.key.clone())
    merged = fate.taken(0, slots, torch.tensor([[0, 1]]), at_decode=True)
    assert merged.counted and merged.weight.tolist() == [[3, 1]]
    query = torch.tensor([[[0.3, 2.0]]])
    whole = attend(query, slots.key, slots.value, slots.valid[:, None], None)[0]
    found = attend(query, merged.key, merged.value, merged.valid[:, None], merged.weight.log())[0]
    assert torch.allclose(whole, found)


def test_elastic_cache_merges_into_the_anchor_nearest_in_position() -> None:
    fate = fate_of("elastic-cache:sinks=1", prompt=8)
    slots = slots_of(*[(float(i), 1.0) for i in range(8)])
    found = fate.taken(0, slots, torch.tensor([[0, 3, 6, 7]]), at_decode=False)  # anchors: 3 and 6
    assert found.value[0, :, 0].tolist() == pytest.approx([0, (1 + 2 + 3 + 4) / 4, (5 + 6) / 2, 7])


def test_elastic_cache_drops_at_a_fixed_distance() -> None:
    model, prompt = small(), 40
    states = made_up(model, prompt + 5)
    cache = begin("elastic-cache:ratio=0.5:distance=6", states.slice(0, prompt))
    before = cache.kept()[0][0].tolist()
    for step in range(5):
        for i, layer in enumerate(states.layers):
            cache.attend(i, layer.slice(prompt + step, prompt + step + 1))
    whole = [*before, *range(prompt, prompt + 5)]
    assert cache.kept()[0][0].tolist() == whole[:14] + whole[-6:]


def test_ems_merges_redundant_candidates_only() -> None:
    fate = fate_of("ems:budget=2:recent=1:candidates=2:alike=0.9")
    slots = slots_of((1, 0), (0, 1), (1, 0.1), (0.7, 0.7), (1, 0))
    rank = torch.tensor([[9.0, 8.0, 7.0, 6.0, 5.0]])
    stay = fate.chosen(slots, rank, torch.tensor([2]), at_decode=False)
    found = fate.taken(0, slots, stay, at_decode=False)
    assert found.value[0, :, 0].tolist() == pytest.approx([(0 + 2) / 2, 1])  # 3 is unlike both, 4 is no candidate
    assert (fate.merged, fate.lost) == (1, 3)


def test_the_merged_share_is_measured() -> None:
    cache = begin("ems:budget=20:recent=4", made_up(small(8), 60))
    assert 0 <= cache.seen["merged_tokens"].mean <= 1
    assert cache.policy.retention.fate.share == cache.seen["merged_tokens"].mean
