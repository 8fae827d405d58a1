"""LagKV's partitions against its equations written out here, thinned at once or one by one."""

import pytest

torch = pytest.importorskip("torch")

from kernels_ref.twins.cache import begin  # noqa: E402
from kernels_ref.twins.made_up import made_up  # noqa: E402

from .naive import top  # noqa: E402
from .test_compress import tiny  # noqa: E402

SINKS, LAG, KEPT = 3, 8, 2
TEXT = "lagkv:sinks=3:lag=8:ratio=0.3"


def spread(rows, after) -> list[float]:
    """Softmax over tokens of the deviation of channels, scaled by the next partition."""
    found = []
    for row in rows.double():
        scaled = [
            float((x - column.min()) / (column.max() - column.min()))
            for x, column in zip(row, after.double().T, strict=True)
        ]
        mean = sum(scaled) / len(scaled)
        found.append((sum((x - mean) ** 2 for x in scaled) / (len(scaled) - 1)) ** 0.5)
    weights = torch.tensor(found).softmax(0)
    return weights.tolist()


def expected(layer, kv_head: int, context: int) -> list[int]:
    """Positions that stay once `context` tokens were seen."""
    kept, whole = list(range(min(SINKS, context))), (context - SINKS) // LAG
    for part in range(max(whole - 1, 0)):
        start = SINKS + part * LAG
        scores = [0.0] * LAG
        for rows in (layer.keys[kv_head], layer.values[kv_head]):
            each = spread(rows[start : start + LAG], rows[start + LAG : start + 2 * LAG])
            scores = [a + b for a, b in zip(scores, each, strict=True)]
        kept += [start + at for at in top(dict(enumerate(scores)), KEPT)]
    return kept + list(range(SINKS + max(whole - 1, 0) * LAG, context)) if context > SINKS else kept


@pytest.mark.parametrize("prompt", [2, 3, 18, 19, 20, 42, 43, 44])
def test_partitions_of_a_prompt(prompt):
    states = made_up(tiny(), prompt, seed=prompt)
    for layer, heads in zip(states.layers, begin(TEXT, states).kept(), strict=True):
        assert [head.tolist() for head in heads] == [expected(layer, h, prompt) for h in range(2)]


def test_decoding_comes_to_the_same():
    whole = made_up(tiny(), 50, seed=1)
    cache = begin(TEXT, whole.slice(0, 2))
    for step in range(2, 50):
        for i, layer in enumerate(whole.layers):
            cache.attend(i, layer.slice(step, step + 1))
        found = [[head.tolist() for head in layer] for layer in cache.kept()]
        assert found == [[expected(layer, h, step + 1) for h in range(2)] for layer in whole.layers]
