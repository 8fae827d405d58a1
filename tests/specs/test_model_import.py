"""`kvsim model import`: a Hugging Face config.json gives the model that we ship, and never a traceback."""

import json
from pathlib import Path
from typing import Any

import pytest
from hf_configs import CONFIGS, LLAMA_3, MISTRAL
from hypothesis import given
from hypothesis import strategies as st

from kvsim import find
from kvsim.errors import UserError
from kvsim.modelimport import ARCHITECTURES, import_config, to_yaml
from kvsim.specs.load import load
from kvsim.specs.model import Model

QWEN, DEEPSEEK, OPT = CONFIGS["qwen2.5-7b"], CONFIGS["deepseek-v2-lite"], CONFIGS["opt-13b"]
GONE = object()


def imported(folder: Path, config: dict[str, Any], **changes: Any) -> Model:
    """The model that `config` with `changes` gives; GONE takes a key away."""
    path = folder / "config.json"
    path.write_text(json.dumps({key: value for key, value in (config | changes).items() if value is not GONE}))
    return import_config(path)


def refusal(folder: Path, config: dict[str, Any], **changes: Any) -> str:
    with pytest.raises(UserError) as error:
        imported(folder, config, **changes)
    message = str(error.value)
    assert message.startswith(str(folder / "config.json"))
    assert "\n" not in message
    return message


def test_every_architecture_has_a_config_here() -> None:
    assert {config["architectures"][0] for config in CONFIGS.values()} == set(ARCHITECTURES)


@pytest.mark.parametrize("name", CONFIGS)
def test_it_gives_the_model_that_we_ship(tmp_path: Path, name: str) -> None:
    beside = {"name", "sources", "published"}
    assert imported(tmp_path, CONFIGS[name]).model_dump(exclude=beside) == find.model(name).model_dump(exclude=beside)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_yaml_loads_back_to_an_equal_model(tmp_path: Path, name: str) -> None:
    for model in (imported(tmp_path, CONFIGS[name]), find.model(name)):
        (tmp_path / "model.yaml").write_text(to_yaml(model))
        assert load(Model, tmp_path / "model.yaml") == model


@given(st.text(min_size=1, max_size=30))
def test_any_name_survives_the_yaml_or_is_refused(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    folder = tmp_path_factory.getbasetemp()
    try:
        model = imported(folder, LLAMA_3, _name_or_path=name)
    except UserError:
        assert not name.isprintable()
        return
    (folder / "named.yaml").write_text(to_yaml(model))
    assert load(Model, folder / "named.yaml") == model


def test_the_name(tmp_path: Path) -> None:
    assert imported(tmp_path, LLAMA_3, _name_or_path="meta-llama/Meta-Llama-3-8B").name == "Meta-Llama-3-8B"
    assert imported(tmp_path, LLAMA_3, _name_or_path="/some/folder/llama/").name == "llama"
    assert imported(tmp_path, LLAMA_3).name == tmp_path.name
    (tmp_path / "tiny.json").write_text(json.dumps(LLAMA_3))
    assert import_config(tmp_path / "tiny.json").name == "tiny"


@pytest.mark.parametrize(
    ("config", "changes", "window"),
    [
        (MISTRAL, {"sliding_window": None}, None),  # v0.2
        (MISTRAL, {"sliding_window": GONE}, (4096, 32)),  # transformers' default
        (QWEN, {"use_sliding_window": True, "max_window_layers": 21, "sliding_window": 32768}, (32768, 7)),
        (QWEN, {"use_sliding_window": True, "sliding_window": 32768}, None),  # from layer 28 of 28 on
        (QWEN, {"use_sliding_window": GONE}, None),
        (CONFIGS["gemma-2-9b"], {"num_hidden_layers": 3}, (4096, 2)),
        (CONFIGS["gemma-2-9b"], {"layer_types": ["sliding_attention"] * 2 + ["full_attention"] * 40}, (4096, 2)),
        (CONFIGS["phi-3-mini"], {"sliding_window": GONE}, None),
        (LLAMA_3, {"sliding_window": 4096}, None),  # Llama has none, whatever the file says
    ],
)
def test_windows(tmp_path: Path, config: dict[str, Any], changes: dict[str, Any], window: object) -> None:
    found = imported(tmp_path, config, **changes).window
    assert (found and (found.tokens, found.layers)) == window


@pytest.mark.parametrize(
    ("changes", "dtype"),
    [
        ({"torch_dtype": "float16"}, "fp16"),
        ({"torch_dtype": "float32"}, "bf16"),
        ({"torch_dtype": GONE}, "bf16"),
        ({"torch_dtype": GONE, "dtype": "float16"}, "fp16"),  # transformers 5
        ({"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}, "fp8"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128}}, "int4"),
        ({"quantization_config": {"quant_method": "awq", "bits": 8}}, "int8"),
        (
            {
                "quantization_config": {
                    "quant_method": "compressed-tensors",
                    "config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "float"}}},
                }
            },
            "fp8",
        ),
    ],
)
def test_weights(tmp_path: Path, changes: dict[str, Any], dtype: str) -> None:
    assert imported(tmp_path, LLAMA_3, **changes).dtype == dtype


def test_keys_that_may_be_missing_or_null(tmp_path: Path) -> None:
    assert imported(tmp_path, LLAMA_3, head_dim=None).head_dim == 128
    assert imported(tmp_path, LLAMA_3, head_dim=64).head_dim == 64
    assert imported(tmp_path, LLAMA_3, num_key_value_heads=None).kv_heads == 32
    assert imported(tmp_path, MISTRAL, num_key_value_heads=GONE).kv_heads == 8
    assert imported(tmp_path, CONFIGS["qwen3-32b"], head_dim=GONE).head_dim == 128
    assert not imported(tmp_path, LLAMA_3, tie_word_embeddings=GONE).tied_embeddings
    assert imported(tmp_path, OPT, word_embed_proj_dim=GONE).tied_embeddings
    latent = imported(tmp_path, DEEPSEEK, q_lora_rank=1536).latent
    assert latent and latent.query_rank == 1536


def test_llamas_biases(tmp_path: Path) -> None:
    both = imported(tmp_path, LLAMA_3, attention_bias=True, mlp_bias=True)
    assert (both.linear_bias, both.qkv_bias) == (True, False)
    attention = imported(tmp_path, LLAMA_3, attention_bias=True)
    assert (attention.linear_bias, attention.qkv_bias) == (False, True)


@pytest.mark.parametrize(
    ("config", "changes", "says"),
    [
        (
            LLAMA_3,
            {"architectures": ["FalconForCausalLM"]},
            "unknown architecture 'FalconForCausalLM'; there are: Llama",
        ),
        (LLAMA_3, {"architectures": GONE}, "key 'architectures' is missing"),
        (LLAMA_3, {"architectures": "LlamaForCausalLM"}, "architectures: must be a list of one name"),
        (LLAMA_3, {"architectures": []}, "architectures: must be a list of one name"),
        (LLAMA_3, {"hidden_size": GONE}, "key 'hidden_size' is missing"),
        (LLAMA_3, {"hidden_size": None}, "hidden_size: must be a whole number, but got 'None'"),
        (LLAMA_3, {"hidden_size": "4096"}, "hidden_size: must be a whole number, but got '4096'"),
        (LLAMA_3, {"hidden_size": 4096.0}, "hidden_size: must be a whole number"),
        (LLAMA_3, {"hidden_size": True}, "hidden_size: must be a whole number"),
        (LLAMA_3, {"hidden_size": float("nan")}, "hidden_size: must be a whole number"),
        (LLAMA_3, {"hidden_size": 10**100}, "hidden: input should be less than or equal to 1000000000"),
        (LLAMA_3, {"hidden_size": 4097}, "num_attention_heads: must divide hidden_size (4097)"),
        (LLAMA_3, {"num_attention_heads": 0}, "num_attention_heads: must divide"),
        (LLAMA_3, {"num_hidden_layers": 0}, "layers: input should be greater than 0"),
        (LLAMA_3, {"num_key_value_heads": 7}, "heads must be a multiple of kv_heads, but got 32 and 7"),
        (LLAMA_3, {"tie_word_embeddings": "no"}, "tie_word_embeddings: must be true or false"),
        (LLAMA_3, {"torch_dtype": "float64"}, "torch_dtype: must be one of bfloat16, float16, float32"),
        (LLAMA_3, {"torch_dtype": [1]}, "torch_dtype: must be one of"),
        (LLAMA_3, {"quantization_config": "fp8"}, "quantization_config: must be an object"),
        (LLAMA_3, {"quantization_config": {"quant_method": "higgs"}}, "quantization_config: must be fp8, gptq or awq"),
        (LLAMA_3, {"quantization_config": {"quant_method": ["a"], "bits": {}}}, "quantization_config: must be fp8"),
        (OPT, {"word_embed_proj_dim": 512}, "word_embed_proj_dim: must equal hidden_size, but got '512'"),
        (DEEPSEEK, {"moe_layer_freq": 2}, "moe_layer_freq: must be 1, but got '2'"),
        (DEEPSEEK, {"kv_lora_rank": GONE}, "key 'kv_lora_rank' is missing"),
        (DEEPSEEK, {"num_experts_per_tok": 65}, "experts.active must be at most 64, but got 65"),
    ],
)
def test_refusals(tmp_path: Path, config: dict[str, Any], changes: dict[str, Any], says: str) -> None:
    assert says in refusal(tmp_path, config, **changes)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"[1, 2]", "must hold one JSON object"),
        (b"\x89PNG\r\n\xff", "is not UTF-8 text"),
        (b'{"a": ' + b"9" * 5000 + b"}", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b" " * 5_000_000, "5000000 bytes is too large"),
    ],
    ids=lambda value: value[:8] if isinstance(value, bytes) else "",
)
def test_what_is_no_config(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=says) as error:
        import_config(path)
    assert "\n" not in str(error.value)


def test_a_directory_and_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Is a directory"):
        import_config(tmp_path)
    with pytest.raises(UserError, match="No such file"):
        import_config(tmp_path / "config.json")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = sorted({key for config in CONFIGS.values() for key in config} | {"head_dim", "layer_types", "dtype", "mlp_bias"})
QUANTIZED = st.fixed_dictionaries(
    {"quant_method": st.sampled_from(["gptq", "awq", "compressed-tensors", "fp8"]) | JSON, "bits": JSON},
    optional={"config_groups": st.dictionaries(st.text(max_size=3), st.fixed_dictionaries({"weights": JSON}) | JSON)},
)


@given(
    st.sampled_from(sorted(CONFIGS)),
    st.dictionaries(st.sampled_from(KEYS), JSON, max_size=3),
    st.none() | QUANTIZED,
)
def test_no_config_raises_anything_but_a_user_error(
    tmp_path_factory: pytest.TempPathFactory, name: str, changes: dict[str, Any], quantization: object
) -> None:
    folder = tmp_path_factory.getbasetemp()
    try:
        model = imported(folder, CONFIGS[name] | changes, quantization_config=quantization)
    except UserError as error:
        assert len(str(error).splitlines()) == 1
        return
    (folder / "fuzzed.yaml").write_text(to_yaml(model))
    assert load(Model, folder / "fuzzed.yaml") == model
