"""Locret's heads: what they are fitted to, that they learn it, and what reading in chunks loses."""

import pytest

torch = pytest.importorskip("torch")

from kernels_ref.twins.cache import begin  # noqa: E402
from kernels_ref.twins.made_up import made_up  # noqa: E402
from kernels_ref.twins.trained_heads import _later  # noqa: E402

from .test_compress import tiny  # noqa: E402


def test_the_target_is_the_largest_later_score():
    layer = made_up(tiny(1), 300, seed=1).layers[0]
    target = _later(layer)
    for at, kv_head in ((0, 0), (43, 1), (44, 0), (150, 1), (299, 0)):
        scores = [
            float(layer.queries[head, i].double() @ layer.keys[kv_head, at].double()) / 32**0.5
            for head in (2 * kv_head, 2 * kv_head + 1)
            for i in range(max(at, 44), 300)
        ]
        assert float(target[at, kv_head]) == pytest.approx(max(scores), rel=1e-4)


def test_fitted_scores_follow_the_target():
    """On the text that they were fitted to; a drawn network's scores do not."""
    states = made_up(tiny(), 200, seed=2)
    cache = begin("locret:budget=150:stabilizers=10:local=10:hidden=256", states)
    scorer = cache.retention.scorer
    for i, layer in enumerate(states.layers):
        found, target = scorer.extra(i, layer)["retain"].float().flatten(), _later(layer).T.flatten()
        assert torch.corrcoef(torch.stack([found, target]))[0, 1] > 0.7
        assert torch.equal(
            scorer.extra(i, layer)["retain"],
            begin("locret:budget=150:stabilizers=10:local=10:hidden=256", states).retention.scorer.extra(i, layer)[
                "retain"
            ],
        )


def test_a_prompt_is_cut_between_its_chunks():
    states = made_up(tiny(1), 64, seed=3)
    cache = begin("locret:budget=20:chunk=10:stabilizers=6:local=4:hidden=64", states)
    scores = cache.retention.scorer.extra(0, states.layers[0])["retain"].float()
    for kv_head in range(2):
        stay: list[int] = []
        for start in range(0, 64, 10):
            stay += range(start, min(start + 10, 64))
            end = stay[-1] + 1
            newest = 6 if end < 64 else 4
            older = sorted((at for at in stay if at < end - newest), key=lambda at: (-float(scores[kv_head, at]), at))
            room = 20 - newest
            stay = sorted(older[:room] + list(range(max(end - newest, 0), end)))
        assert cache.kept()[0][kv_head].tolist() == stay


def test_generated_tokens_stay_with_their_scores():
    whole = made_up(tiny(), 70, seed=4)
    cache = begin("locret:budget=20:chunk=10:stabilizers=6:local=4:hidden=64", whole.slice(0, 64))
    before = cache.kept()[1][0].tolist()
    for i, layer in enumerate(whole.layers):
        cache.attend(i, layer.slice(64, 70))
    assert cache.kept()[1][0].tolist() == [*before, *range(64, 70)]
    scorer = cache.retention.scorer
    again = scorer.extra(1, whole.layers[1])["retain"]
    assert torch.equal(cache.slots[1].extra["retain"][:, -6:], again[:, 64:])
