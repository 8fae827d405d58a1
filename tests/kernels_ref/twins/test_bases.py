"""Bases of fewer channels, against what their papers define, written out once more."""

import pytest

torch = pytest.importorskip("torch")

from kernels_ref.twins.bases import principal  # noqa: E402
from kernels_ref.twins.cache import begin  # noqa: E402
from kernels_ref.twins.made_up import made_up  # noqa: E402

from .test_compress import tiny  # noqa: E402
from .test_matrix import check_steps, few_layers  # noqa: E402

HALF = 1e-3  # relative error of rows stored in fp16: 2^-11 an element

COMPOSED = (
    "think:window=16:observed=8+kivi:residual=32",
    "snapkv:capacity=40:window=8+think:window=8",
    "streaming:window=40+think:window=8",
    "think+fp8",
    "think:window=8+bfp-kv",
    "think:window=8+gear:buffer=4",
    "think:window=8+zipcache:gap=4",
    "think:window=8+mikv",
    "eigen-attention+kivi:bits=4:group=32:residual=32",
    "cskv+kivi:bits=4:group=32:residual=32",
    "cskv:key_keep=0.25:value_keep=0.75:window=8+fp8",
    "streaming:window=40+cskv:window=8",
    "matryoshkakv+kivi:residual=32",
    "snapkv:capacity=40:window=8+matryoshkakv",
    "matryoshkakv+kvquant:bits=3",
    "eigen-attention+gear:buffer=4",
    "cskv:window=8+zipcache:gap=4",
)


def apart(read, true) -> float:
    return float((read - true).norm() / true.norm())


@pytest.mark.parametrize("text", COMPOSED)
def test_bytes_of_compositions(text: str) -> None:
    model = few_layers("llama-3-8b")
    for prompt in (7, 31, 32, 33, 100):
        check_steps(text, made_up(model, prompt + 2, seed=prompt), prompt)


@pytest.mark.parametrize(
    "text",
    (
        "think:pruned=0",
        "eigen-attention:key_keep=1:value_keep=1",
        "cskv:key_keep=1:value_keep=1",
        "matryoshkakv:key_keep=1:value_keep=1",
    ),
)
def test_at_full_rank_nothing_but_rounding_is_lost(text: str) -> None:
    states = made_up(tiny(), 90)
    cache = begin(text, states)
    for layer, read in zip(states.layers, cache.read, strict=True):
        assert apart(read.key, layer.keys) < HALF and apart(read.value, layer.values) < HALF


@pytest.mark.parametrize("text", ("eigen-attention", "cskv:window=0", "matryoshkakv"))
def test_error_falls_with_rank(text: str) -> None:
    states, errors = made_up(tiny(), 90), []
    for keep in (0.1, 0.3, 0.6, 0.9):
        cache = begin(text.split(":")[0] + f":key_keep={keep}:value_keep={keep}", states)
        errors.append(apart(cache.read[0].value, states.layers[0].values))
    assert errors == sorted(errors, reverse=True) and errors[0] > 2 * errors[-1] > 0


def test_think_keeps_the_channels_whose_products_of_norms_are_largest() -> None:
    states = made_up(tiny(), 60)
    cache = begin("think:pruned=0.4:window=5:observed=7", states)
    for layer, read in zip(states.layers, cache.read, strict=True):
        for head in range(2):
            queries = layer.queries[2 * head : 2 * head + 2, 60 - 7 :].reshape(-1, 32)  # both query heads of the group
            scores = [float(queries[:, j].norm() * layer.keys[head, :, j].norm()) for j in range(32)]
            best = sorted(range(32), key=lambda j: -scores[j])[:19]  # int(0.6 x 32)
            kept = read.key[head, :55].abs().sum(0).nonzero()[:, 0].tolist()
            assert kept == sorted(best)
            assert apart(read.key[head, :55, kept], layer.keys[head, :55, kept]) < HALF
            assert apart(read.key[head, 55:], layer.keys[head, 55:]) < HALF
            assert apart(read.value[head], layer.values[head]) < HALF


def test_think_chooses_once_and_keeps_the_window_whole() -> None:
    whole = made_up(tiny(), 70)
    cache = begin("think:window=5", whole.slice(0, 60))
    before = cache.read[0].key[0, :55].abs().sum(0) > 0
    for at in range(60, 70):
        for i, layer in enumerate(whole.layers):
            cache.attend(i, layer.slice(at, at + 1))
    cache.stored_bytes()
    assert ((cache.read[0].key[0, :65].abs().sum(0) > 0) == before).all()
    assert apart(cache.read[0].key[:, 65:], whole.layers[0].keys[:, 65:]) < HALF


@pytest.mark.parametrize("tokens", (40, 8))
def test_principal_directions_are_the_singular_vectors(tokens: int) -> None:
    rows = torch.randn(3, tokens, 12, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 13)
    basis = principal(rows, 5)
    assert principal(rows, 15)[..., min(tokens, 12) :].abs().max() == 0
    for head in range(3):
        u, s, v = torch.linalg.svd(rows[head])
        best = u[:, :5] @ torch.diag(s[:5]) @ v[:5]
        torch.testing.assert_close(rows[head] @ basis[head] @ basis[head].T, best, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("text", ("cskv:key_keep=0.25:value_keep=0.25:window=6", "eigen-attention:key_keep=0.25"))
def test_latents_are_the_best_of_their_rank_over_all_heads(text: str) -> None:
    """Fitted on the prompt itself, rebuilt keys are those of its truncated decomposition, before rotary embedding."""
    states = made_up(tiny(), 80)
    cache = begin(text, states)
    window = 6 if "window" in text else 0
    for layer, read in zip(states.layers, cache.read, strict=True):
        wide = torch.cat(list(layer.raw_keys), 1)  # [T, Hk D]
        u, s, v = torch.linalg.svd(wide, full_matrices=False)
        best = (u[:, :16] * s[:16]) @ v[:16]
        raw = cache.basis.raw(read.key, read.position)
        rebuilt = torch.cat(list(raw), 1)
        assert apart(rebuilt[: 80 - window], best[: 80 - window]) < 3 * HALF
        assert window == 0 or apart(rebuilt[80 - window :], wide[80 - window :]) < HALF


def test_a_calibration_text_gives_the_bases() -> None:
    states, other = made_up(tiny(), 50), made_up(tiny(), 70, seed=1)
    one, two = begin("matryoshkakv", states, calibration=other), begin("matryoshkakv", other)
    assert torch.equal(one.basis.bases[1][0], two.basis.bases[1][0])
    assert "principal components" in one.notes[0]
