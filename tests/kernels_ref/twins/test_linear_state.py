"""LESS: what the state holds, and attention that shares one softmax with it."""

import pytest

torch = pytest.importorskip("torch")

import kvsim.find as find  # noqa: E402
from kernels_ref.twins import linear_state  # noqa: E402
from kernels_ref.twins.attention import attend  # noqa: E402
from kernels_ref.twins.cache import begin  # noqa: E402
from kernels_ref.twins.made_up import made_up  # noqa: E402
from kvsim.traits.policy import policy  # noqa: E402

NAME, PROMPT = "less:heavy=0.1:recent=0.1:hidden=16:rank=4", 50


def small():
    update = {"layers": 2, "heads": 4, "kv_heads": 2, "head_dim": 16, "hidden": 64, "vocab": 64, "window": None}
    return find.model("llama-3-8b").model_copy(update=update)


def test_the_state_sums_what_was_dropped_at_the_end_and_at_each_step() -> None:
    states = made_up(small(), PROMPT + 4)
    cache = begin(NAME, states.slice(0, PROMPT))
    for step in range(5):
        fate, kernels = cache.retention.fate, cache.retention.fate.kernels[1]
        layer, seen = states.layers[1], PROMPT + step
        for head, kept in enumerate(cache.kept()[1]):
            gone = [i for i in range(seen) if i not in kept.tolist()]
            assert len(gone) == seen - 10
            features = kernels.of_keys(layer.keys[:, gone])[head]
            assert torch.allclose(fate.sums[1][head], features.T @ layer.values[head, gone], rtol=1e-4, atol=1e-6)
            assert torch.allclose(fate.norms[1][head], features.sum(0), rtol=1e-4)
        if step < 4:
            for i, one in enumerate(states.layers):
                cache.attend(i, one.slice(seen, seen + 1))


def test_kept_tokens_and_the_state_share_a_softmax() -> None:
    states = made_up(small(), PROMPT + 1)
    cache = begin(NAME, states.slice(0, PROMPT))
    new = states.layers[0].slice(PROMPT, PROMPT + 1)
    kept, fate = cache.kept()[0], cache.retention.fate
    sums, norms = fate.sums[0].clone(), fate.norms[0].clone()
    out = cache.attend(0, new)
    for head in range(4):
        rows = [*kept[head // 2].tolist(), PROMPT]
        keys = torch.cat([states.layers[0].keys[head // 2, rows[:-1]].half().float(), new.keys[head // 2]])
        values = torch.cat([states.layers[0].values[head // 2, rows[:-1]].half().float(), new.values[head // 2]])
        weights = (keys @ new.queries[head, 0] / 4).exp()
        phi = fate.kernels[0].of_queries(new.queries)[head, 0]
        expected = (weights @ values + phi @ sums[head // 2]) / (weights.sum() + phi @ norms[head // 2])
        assert torch.allclose(out[head, 0], expected, rtol=1e-3, atol=1e-5)


def test_steps_bring_the_output_nearer_to_full_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    states = made_up(small(), 200)
    layer, setting, trait = states.layers[0], begin(NAME, states).setting, policy(NAME).retention.fate
    seen = torch.ones(100, 200, dtype=torch.bool).tril(100)
    gone = seen & (torch.arange(200) <= torch.arange(80, 180)[:, None])  # the newest 20 stay, heavy ones are left out
    queries, keys, values = layer.queries[:, 100:], layer.keys, layer.values
    target = attend(queries, keys, values, seen[None], None)[0]
    mass = torch.einsum("hqd,hkd->hqk", queries, keys.repeat_interleave(2, 0)).div(4).exp() * seen

    def error(steps: int) -> float:
        monkeypatch.setattr(linear_state, "STEPS", steps)
        kernels = linear_state.fitted(layer, trait, setting, 0)
        folded = kernels.of_queries(queries) @ kernels.of_keys(keys).repeat_interleave(2, 0).transpose(1, 2)
        mixed = torch.where(gone, folded, mass)
        out = (mixed @ values.repeat_interleave(2, 0)) / mixed.sum(-1, keepdim=True)
        return float((out - target).norm() / target.norm())

    assert error(200) < 0.97 * error(0)
