"""SubGen: what is stored of whom, and sums that are right on average."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import kvsim.find as find  # noqa: E402
from kernels_ref.twins.cache import begin  # noqa: E402
from kernels_ref.twins.compress import compress  # noqa: E402
from kernels_ref.twins.made_up import made_up  # noqa: E402

NAME, PROMPT, STEPS = "subgen:recent=6:rows=10:samples=2:clusters=1", 60, 9


def small():
    update = {"layers": 1, "heads": 2, "kv_heads": 1, "head_dim": 16, "hidden": 32, "vocab": 64, "window": None}
    return find.model("llama-3-8b").model_copy(update=update)


STATES = made_up(small(), PROMPT + STEPS + 1)


def after(seed: int, steps: int = 0):
    cache = begin(NAME, STATES.slice(0, PROMPT), seed=seed)
    for step in range(steps):
        cache.attend(0, STATES.layers[0].slice(PROMPT + step, PROMPT + step + 1))
    cache._encode()
    return cache.read[0], cache


@pytest.mark.parametrize("steps", [0, STEPS])
def test_rows_and_keys_are_as_many_as_the_curve_says(steps: int) -> None:
    slots, _ = after(0, steps)
    context = PROMPT + steps
    older = context - 16
    rows, keys = (slots.position[0][slots.kind[0] == kind] for kind in (0, 1))
    assert len(rows) == 16 and rows[-6:].tolist() == list(range(context - 6, context))
    assert len(keys) == min(older, 3 * int(np.ceil(older**0.5)))
    assert slots.weight[0][slots.kind[0] == 1].sum().item() == pytest.approx(older)  # everyone is stood for
    assert (slots.value[0][slots.kind[0] == 1] == 0).all()
    assert int(slots.extra["lead"].sum()) == int(np.ceil(older**0.5))


@pytest.mark.parametrize("steps", [0, STEPS])
def test_numerator_and_sum_are_right_on_average(steps: int) -> None:
    layer, context, seeds = STATES.layers[0], PROMPT + steps, 150
    query = layer.queries[0, context] / 4
    true = (layer.keys[0, :context] @ query).exp()
    sums, numerators = [], []
    for seed in range(seeds):
        slots, _ = after(seed, steps)
        weights = (slots.key[0] @ query).exp()
        sums.append((weights * slots.weight[0]).sum())
        numerators.append(weights @ slots.value[0])
    total, numerator = torch.stack(sums), torch.stack(numerators)
    assert abs(total.mean() - true.sum()) < 4 * total.std() / seeds**0.5 + 1e-3 * true.sum()
    exact = true @ layer.values[0, :context]
    assert ((numerator.mean(0) - exact).abs() < 4.5 * numerator.std(0) / seeds**0.5 + 1e-3 * exact.abs().max()).all()


def test_representatives_are_far_apart() -> None:
    """Farthest first is at most twice the best radius; here: no key is farther from one than they from another."""
    slots, cache = after(1)
    keys, leads = cache.slots[0].key[0], cache.slots[0].extra["lead"][0] > 0
    others = STATES.layers[0].keys[0][[i for i in range(PROMPT) if i not in slots.position[0][slots.kind[0] == 0]]]
    apart = torch.cdist(keys[leads], keys[leads]).fill_diagonal_(torch.inf).min()
    assert torch.cdist(others, keys[leads]).min(1).values.max() <= apart


def test_short_prompts_are_exact() -> None:
    new = STATES.slice(30, 31)
    whole = compress("full", STATES.slice(0, 30), new)
    found = compress("subgen:recent=16:rows=20", STATES.slice(0, 30), new)
    assert torch.allclose(whole.outputs[0], found.outputs[0], atol=1e-5)
