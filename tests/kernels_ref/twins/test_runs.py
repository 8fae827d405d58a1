"""KVMerger's runs against a loop over neighbours."""

import math

import pytest

torch = pytest.importorskip("torch")

import kvsim.find as find  # noqa: E402
from kernels_ref.twins.cache import begin  # noqa: E402
from kernels_ref.twins.made_up import made_up  # noqa: E402
from kernels_ref.twins.part import Setting, part  # noqa: E402
from kernels_ref.twins.slots import Slots  # noqa: E402
from kvsim.traits.policy import policy  # noqa: E402


def small(kv_heads: int):
    update = {"layers": 2, "heads": 4, "kv_heads": kv_heads, "head_dim": 16, "hidden": 64, "vocab": 64, "window": None}
    return find.model("llama-3-8b").model_copy(update=update)


def test_a_worked_case() -> None:
    one = policy("kvmerger")
    fate = part(one.retention.fate, Setting(one, small(1), 6))
    keys = torch.tensor([[[1.0, 0], [1, 0.2], [1, 0.1], [0, 1], [0.1, 1], [-1, 0]]])
    at = torch.arange(6)
    slots = Slots.of(at, keys, at[None, :, None].float())
    rank = torch.tensor([[1.0, 5, 2, 1, 3, 1e29]])  # the last token is the window
    stay = fate.chosen(slots, rank, torch.tensor([3]), at_decode=False)
    assert stay.tolist() == [[1, 4, 5]]  # runs 0 to 2 and 3 to 4
    found = fate.taken(0, slots, stay, at_decode=False)
    d = [0.2, 0.1]
    mean = sum(d) / 2
    weights = [math.exp(-((x / mean) ** 2)) for x in d]
    total = 1 + sum(weights)
    assert found.value[0, 0].item() == pytest.approx((1 * 1 + weights[0] * 0 + weights[1] * 2) / total)
    assert found.key[0, 0, 1].item() == pytest.approx((0.2 + weights[1] * 0.1) / total)
    assert found.value[0, 1].item() == pytest.approx((4 + 3 / math.e) / (1 + 1 / math.e))
    assert found.value[0, 2].item() == 5
    assert found.weight.tolist() == [[3, 2, 1]]


def test_runs_are_neighbours_and_the_window_stays() -> None:
    states = made_up(small(2), 60)
    cache = begin("kvmerger:keep=0.5:window=8", states)
    for slots in cache.slots:
        assert (slots.weight.sum(1) == 60).all()
        for position, weight in zip(slots.position.tolist(), slots.weight.tolist(), strict=True):
            assert position[-8:] == list(range(52, 60)) and set(weight[-8:]) == {1.0}
            ends = [sum(weight[: i + 1]) for i in range(len(weight))]
            assert all(end - w <= at < end for at, w, end in zip(position, weight, ends, strict=True))
