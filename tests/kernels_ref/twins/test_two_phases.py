"""SCOPE: the prompt's choice is SnapKV's and never changes; generated tokens against a simulation written out here."""

import pytest

torch = pytest.importorskip("torch")

from kernels_ref.twins.cache import begin  # noqa: E402
from kernels_ref.twins.made_up import made_up  # noqa: E402

from .naive import group, top  # noqa: E402
from .test_compress import tiny  # noqa: E402

PROMPT, STEPS = 40, 20


def test_the_prompts_cut_is_snapkvs():
    states = made_up(tiny(), PROMPT, seed=1)
    scope, snap = (begin(f"{name}:capacity=16:window=4", states).kept() for name in ("scope-kv", "snapkv"))
    assert [[h.tolist() for h in layer] for layer in scope] == [[h.tolist() for h in layer] for layer in snap]


@pytest.mark.parametrize("strategy", ["slide", "adaptive", "discontinuous"])
def test_generated_tokens(strategy):
    whole = made_up(tiny(1), PROMPT + STEPS, seed=2)
    text = f"scope-kv:capacity=16:window=4:strategy={strategy}:decoding=7:recent=3:delta=4"
    cache, layer = begin(text, whole.slice(0, PROMPT)), whole.layers[0]
    begun = [head.tolist() for head in cache.kept()[0]]
    made: list[list[int]] = [[], []]
    for step in range(PROMPT, PROMPT + STEPS):
        cache.attend(0, layer.slice(step, step + 1))
        count = step + 1 - PROMPT
        budget = 7 if strategy == "slide" else min(3 + count // 4, 7)
        for kv_head in range(2):
            there = made[kv_head] + [step]
            due = strategy != "discontinuous" or count % 4 == 0
            if len(there) > budget and due:
                stored = torch.tensor(begun[kv_head] + there)
                shown = torch.zeros(len(stored))
                for head in group(layer, kv_head):
                    shown += (layer.keys[kv_head, stored] @ layer.queries[head, step] / 32**0.5).softmax(0)
                older = {at: float(p) for at, p in zip(there, shown[len(begun[kv_head]) :], strict=True)}
                older = {at: p for at, p in older.items() if at < step - 2}
                there = [*top(older, budget - 3), step - 2, step - 1, step]
            made[kv_head] = there
            assert cache.kept()[0][kv_head].tolist() == begun[kv_head] + there
