"""Coded rows take the bytes that the cost side counts, at lengths around groups and windows, alone and composed."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from kernels_ref.twins.cache import begin  # noqa: E402
from kernels_ref.twins.made_up import made_up  # noqa: E402
from kvsim.errors import UserError  # noqa: E402
from kvsim.traits.policy import policy  # noqa: E402

from .test_compress import tiny  # noqa: E402
from .test_matrix import check, check_steps  # noqa: E402

CODES = (
    "aqua-kv:buffer=16:bits=3:group=48",
    "bfp-kv",
    "bfp-kv:bits=5:block=12",
    "coupled-quantization:channels=5:code_bits=6",
    "csr:dictionary=100:atoms=3:weight_bits=3",
    "flightllm",
    "fp8",
    "kivi:residual=32",
    "kivi:bits=4:residual=64",
    "kv-adaquant:key_bits=8:value_bits=1:group=32:residual=32",
    "kvquant",
    "kvquant:bits=2:outliers=0:sinks=0",
    "rotatekv:bits=3:group=24",
    "vidkv:group=16:residual=16",
    "vidkv:group=6:residual=6:salient=0.3:anomalous=0.3",
)
LENGTHS = (0, 1, 2, 5, 15, 16, 17, 19, 20, 21, 31, 32, 33, 35, 36, 37, 51, 63, 64, 65, 95, 96, 97)
COMPOSED = (
    "snapkv:capacity=40:window=8+kivi:residual=32",
    "snapkv:capacity=40:window=8+coupled-quantization:code_bits=4",
    "snapkv:capacity=40:window=8+vidkv:group=16:residual=16",
    "duoattention:sinks=4:recent=30+kivi:bits=4:residual=32",
    "duoattention:sinks=4:recent=30+coupled-quantization:code_bits=4",
    "duoattention:sinks=4:recent=30+bfp-kv",
    "streaming:window=40+aqua-kv:buffer=16",
    "streaming:window=40+kvquant",
    "streaming:window=40+rotatekv",
    "streaming:window=40+csr:dictionary=64",
    "h2o+fp8",
    "headinfer+kivi:residual=32",
    "headinfer+rotatekv",
)


@pytest.mark.parametrize("text", CODES)
def test_of_one_layer(text: str) -> None:
    states = made_up(tiny(3), 97)
    basis = begin(text, states).basis
    chosen = policy(text)
    for layer in range(3):
        kind = basis.setting.layout.kind_of(layer)
        quantizer, geo = chosen.quantizer.of_kind(kind), basis.setting.layout.geo
        for tokens in LENGTHS:
            for below in range(layer):  # a layer may be read through the one below
                coded_rows(basis, states, below, tokens)
            each = quantizer.bytes(np.array([tokens]), geo.key_dim, geo.value_dim).total * geo.kv_heads
            shared = quantizer.layer_bytes(geo, np.array([tokens]))
            assert coded_rows(basis, states, layer, tokens).nbytes == (each + shared)[0], (layer, tokens)


def coded_rows(basis, states, layer: int, tokens: int):
    rows, at = states.layers[layer], torch.arange(tokens)
    quantizer = basis.quantizers[layer, 0]
    quantizer.heads = torch.arange(2)
    found = basis.code(quantizer, layer, rows.keys[:, :tokens], rows.values[:, :tokens], at.expand(2, -1))
    assert found.key.shape == (2, tokens, 32) and found.value.shape == (2, tokens, 32)
    return found


@pytest.mark.parametrize("generated", (0, 1, 5, 15, 16, 17, 32, 35))
@pytest.mark.parametrize(
    "text", ("gear:buffer=16:group=10", "gear:buffer=5:group=64:bits=2:sparse=0.1", "gear:sparse=0")
)
def test_of_prompt_and_generated_tokens(text: str, generated: int) -> None:
    for prompt in (1, 3, 64, 65):
        whole = made_up(tiny(), prompt + 40)
        cache = begin(text, whole.slice(0, prompt))
        for i, layer in enumerate(whole.layers):
            if generated:
                cache.attend(i, layer.slice(prompt, prompt + generated))
        check(cache, prompt + generated)


@pytest.mark.parametrize("text", COMPOSED)
def test_composed(text: str) -> None:
    whole = made_up(tiny(4), 104)
    for prompt in (7, 63, 100):
        check_steps(text, whole.slice(0, prompt + 3), prompt)


def test_what_is_on_its_way_rests_whole() -> None:
    states = made_up(tiny(), 20)
    for name in ("cachegen", "vcllm"):
        cache = begin(name, states)
        assert cache.stored_bytes() == begin("full", states).stored_bytes()
        assert len(cache.notes) == 1 and "on its way" in cache.notes[0]
    assert begin("full", states).notes == ()


@pytest.mark.parametrize("text", ("cskv+aqua-kv", "minicache+aqua-kv"))
def test_layers_predicted_from_each_other_hold_the_same_rows(text: str) -> None:
    with pytest.raises(UserError, match="predicted from each other"):
        policy(text)
