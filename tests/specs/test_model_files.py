"""Every model's parameters, weight bytes and KV bytes per token against what its authors published."""

import pytest

from kvsim import find
from kvsim.specs.load import read_yaml

NAMES = find.names("workloads/models")


def test_the_models_of_the_issue_are_there() -> None:
    assert set(NAMES) >= {
        *("llama-2-7b", "llama-2-13b", "llama-2-70b", "llama-3-8b", "llama-3-70b", "llama-3.1-8b", "codellama-34b"),
        *("mistral-7b", "mixtral-8x7b", "qwen2.5-7b", "qwen3-32b", "gemma-2-9b", "opt-6.7b", "opt-13b", "opt-30b"),
        *("phi-3-mini", "deepseek-v2-lite"),
    }


@pytest.mark.parametrize("name", NAMES)
def test_parameters_within_one_percent_of_published(name: str) -> None:
    model = find.model(name)
    assert model.parameters == pytest.approx(model.published["parameters"], rel=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_kv_bytes_per_token_equal_published(name: str) -> None:
    model = find.model(name)
    assert model.kv_bytes_per_token == model.published["kv_bytes_per_token"]


@pytest.mark.parametrize("name", [name for name in NAMES if "weight_bytes" in find.model(name).published])
def test_weight_bytes_within_a_thousandth_of_the_checkpoint(name: str) -> None:
    model = find.model(name)
    assert model.weight_bytes == pytest.approx(model.published["weight_bytes"], rel=0.001)


@pytest.mark.parametrize("name", NAMES)
def test_every_published_figure_and_the_shape_have_a_source(name: str) -> None:
    model = find.model(name)
    assert {"shape", *(f"published.{key}" for key in model.published)} <= set(model.sources)
    assert set(model.published) <= {"parameters", "kv_bytes_per_token", "weight_bytes"}
    data = read_yaml(find.ROOT / "workloads/models" / f"{name}.yaml")
    for source in set(model.sources) - {"shape", "dtype"}:
        assert source.partition(".")[0] in data or source == "window", f"{source} names no key"


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("llama-2-7b", 6_738_415_616),
        ("llama-2-13b", 13_015_864_320),
        ("llama-2-70b", 68_976_648_192),
        ("llama-3-8b", 8_030_261_248),
        ("llama-3-70b", 70_553_706_496),
        ("codellama-34b", 33_743_970_304),
        ("mistral-7b", 7_241_732_096),
        ("mixtral-8x7b", 46_702_792_704),
        ("qwen2.5-7b", 7_615_616_512),
        ("qwen3-32b", 32_762_123_264),
        ("gemma-2-9b", 9_241_705_984),
        ("phi-3-mini", 3_821_079_552),
        ("deepseek-v2-lite", 15_706_484_224),
    ],
)
def test_parameters_equal_the_checkpoint_to_the_element(name: str, parameters: int) -> None:
    """The checkpoint's own count: every bias, norm, router and tied embedding is in its place."""
    assert find.model(name).parameters == parameters


def test_heads_that_tensor_parallelism_must_divide() -> None:
    qwen = find.model("qwen2.5-7b")
    assert (qwen.heads, qwen.kv_heads) == (28, 4)


def test_windows() -> None:
    windows = {name: find.model(name).window for name in NAMES}
    told = {name: (window.tokens, window.layers) for name, window in windows.items() if window}
    assert told == {"mistral-7b": (4096, 32), "gemma-2-9b": (4096, 21), "phi-3-mini": (2047, 32)}


def test_an_mla_token_is_one_latent_row_and_its_rotary_key() -> None:
    model = find.model("deepseek-v2-lite")
    assert (model.cache_heads, model.key_dim, model.value_dim) == (1, 576, 0)
    assert model.kv_bytes_per_token == 27 * 576 * 2


def test_experts() -> None:
    assert find.model("mixtral-8x7b").moe_layers == 32
    assert find.model("deepseek-v2-lite").moe_layers == 26


@pytest.mark.parametrize(("dtype", "gigabytes"), [("bf16", 16.06), ("fp8", 9.08), ("int4", 5.70)])
def test_quantized_weights_leave_embeddings_and_head_at_16_bits(dtype: str, gigabytes: float) -> None:
    """Llama 3 8B: 6.98e9 linear weights and 2 x 128,256 x 4,096 embeddings (the FP8 checkpoint is 9.08 GB)."""
    model = find.model("llama-3-8b").model_copy(update={"dtype": dtype})
    assert model.weight_bytes == pytest.approx(gigabytes * 1e9, rel=0.002)
