"""MagicPIG's sampling: collisions counted one by one, their chance, weights, and an estimate that nears attention."""

import pytest

torch = pytest.importorskip("torch")

from kernels_ref.twins.cache import begin  # noqa: E402
from kernels_ref.twins.compress import compress  # noqa: E402
from kernels_ref.twins.made_up import made_up  # noqa: E402
from kvsim.cost.devices.cpu import collision  # noqa: E402
from tests.kernels_ref.twins.test_matrix import few_layers  # noqa: E402

MODEL = few_layers("llama-3-8b")
GROUP = 4
TEXT = "magicpig:bits=4:tables=10:sinks=2:local=6:dense_layers=2"


def weighed(text, whole, prompt, layer=1):
    cache = begin(text, whole.slice(0, prompt))
    queries = whole.layers[layer].queries[:, prompt:]
    return cache, queries, cache.placement.chosen(layer, queries, cache.read[layer])


def test_keys_that_collide_in_two_tables_are_weighed_by_their_chance() -> None:
    whole = made_up(MODEL, 108)
    cache, queries, found = weighed(TEXT, whole, 100)
    planes, keys = cache.placement.planes, cache.read[1].key  # [bits, tables, channels]
    centred = keys - keys.mean(1, keepdim=True)
    for head in range(8):
        mine = centred[head // GROUP]
        signs = torch.einsum("btd,nd->ntb", planes, mine) > 0
        for n in range(8):
            asked = torch.einsum("btd,d->tb", planes, queries[head, n]) > 0
            hits = (signs == asked).all(2).sum(1)
            for token in range(100):
                got = float(found[head, n, token])
                if token < 2 or token >= 94:
                    assert got == 0
                elif hits[token] < 2:
                    assert got == -torch.inf
                else:
                    cosine = float(torch.cosine_similarity(queries[head, n], mine[token], dim=0))
                    assert got == pytest.approx(-torch.tensor(collision(cosine, 4, 10)).log().item(), rel=1e-3)


def test_dense_layers_lie_evenly() -> None:
    cache = begin(TEXT, made_up(MODEL, 20))
    assert cache.placement.dense == {0, 2}


def test_new_tokens_enter_the_tables() -> None:
    """Block by block or begun later: the same weights, if the mean key is the same one."""
    whole = made_up(MODEL, 140)
    early, _, _ = weighed(TEXT, whole.slice(0, 101), 100)
    for start in (100, 110):
        for i, layer in enumerate(whole.layers):
            early.attend(i, layer.slice(start, start + 10))
    late = begin(TEXT, whole.slice(0, 120))
    late.placement._middle = early.placement._middle
    early._encode()
    queries = whole.layers[1].queries[:, 120:]
    one, other = (x.placement.chosen(1, queries, x.read[1]) for x in (early, late))
    assert torch.equal(one, other)


def test_the_estimate_nears_attention_as_tables_grow() -> None:
    whole = made_up(MODEL, 208)
    full = compress("full", whole.slice(0, 200), whole.slice(200, 208)).outputs
    errors = []
    for tables in (20, 200, 2000):
        text = f"magicpig:bits=6:tables={tables}:sinks=0:local=0:dense_layers=0"
        got = compress(text, whole.slice(0, 200), whole.slice(200, 208)).outputs
        errors.append(float(sum((a - b).norm() for a, b in zip(got, full, strict=True))))
    assert errors[0] > 1.5 * errors[1] > 3 * errors[2]


def test_weights_are_what_makes_it_unbiased() -> None:
    """Over many draws the weighed sums of exp(score) are those of all tokens; without weights they fall short."""
    whole = made_up(MODEL, 64)
    states, mean, plain = whole.slice(0, 60), 0.0, 0.0
    cache = begin("full", states)
    queries, keys = whole.layers[1].queries[:, 60:61], cache.read[1].key.repeat_interleave(GROUP, 0)
    scores = (queries @ keys.transpose(1, 2) * 32**-0.5).exp()
    for seed in range(200):
        sampled = begin("magicpig:bits=3:tables=8:sinks=0:local=0:dense_layers=0", states, seed=seed)
        found = sampled.placement.chosen(1, queries, sampled.read[1])
        mean += float((scores * found.exp()).sum()) / 200
        plain += float((scores * (found > -torch.inf)).sum()) / 200
    assert mean == pytest.approx(float(scores.sum()), rel=0.05)
    assert plain < 0.9 * float(scores.sum())
