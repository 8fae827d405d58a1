"""A Model from a Hugging Face `config.json`: what `kvsim model import` does.

Each architecture says which of its keys mean something of their own; a key that a config leaves out takes the default
of transformers' configuration class, as it would when the model is loaded.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from kvsim.errors import UserError
from kvsim.specs.load import build
from kvsim.specs.model import Model

_BIG_FILE_BYTES = 4_000_000
_DTYPES = {"bfloat16": "bf16", "float16": "fp16", "float32": "bf16"}


class Config:
    """A config.json's keys over its architecture's defaults; a missing or mistyped key is a UserError."""

    def __init__(self, path: Path, data: dict[str, Any], defaults: dict[str, Any]) -> None:
        self.path = path
        self.data = defaults | data

    def has(self, key: str) -> bool:
        """The key is there and not null."""
        return self.data.get(key) is not None

    def count(self, key: str, default: int | None = None) -> int:
        """A whole number of at least 0; null or missing gives `default`."""
        if default is not None and not self.has(key):
            return default
        if key not in self.data:
            raise UserError(f"{self.path}: key {key!r} is missing")
        value = self.data[key]
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise UserError(f"{self.path}: {key}: must be a whole number, but got {str(value)[:60]!r}")
        return value

    def flag(self, key: str, default: bool = False) -> bool:
        """true or false; null or missing gives `default`."""
        value = self.data[key] if self.has(key) else default
        if not isinstance(value, bool):
            raise UserError(f"{self.path}: {key}: must be true or false, but got {str(value)[:60]!r}")
        return value

    def refuse(self, key: str, value: object, why: str) -> UserError:
        """The error for a value that no Model can express."""
        return UserError(f"{self.path}: {key}: {why}, but got {str(value)[:60]!r}")


def import_config(path: Path) -> Model:
    """The Model that a Hugging Face config.json describes. Any fault is a UserError of one line."""
    data = _read(path)
    architecture = _architecture(path, data)
    read, defaults = ARCHITECTURES[architecture]
    config = Config(path, data, defaults)
    fields = _common(config) | read(config)
    dtype, note = _dtype(config)
    fields |= {"name": _name(config), "dtype": dtype}
    fields["sources"] = {"shape": f"config.json of {fields['name']} ({architecture})", "dtype": note}
    return build(Model, {key: value for key, value in fields.items() if value is not None}, str(path))


def to_yaml(model: Model) -> str:
    """The YAML file of a model: loading it gives an equal Model."""
    fields = model.model_dump(exclude_defaults=True)
    return yaml.safe_dump(fields, sort_keys=False, width=120, default_flow_style=None)


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _BIG_FILE_BYTES:
            raise UserError(f"{path}: {path.stat().st_size} bytes is too large for a config.json")
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not UTF-8 text") from None
    except (ValueError, RecursionError) as error:  # JSON faults, and whole numbers of more than 4,300 digits
        raise UserError(f"{path}: is not JSON: {str(error).splitlines()[0]}") from None
    if not isinstance(data, dict):
        raise UserError(f"{path}: must hold one JSON object of a Hugging Face model")
    return data


def _architecture(path: Path, data: dict[str, Any]) -> str:
    named = data.get("architectures")
    if named is None:
        raise UserError(f"{path}: key 'architectures' is missing; is it a Hugging Face config.json?")
    if not isinstance(named, list) or len(named) != 1 or not isinstance(named[0], str):
        raise UserError(f"{path}: architectures: must be a list of one name, but got {str(named)[:60]!r}")
    if named[0] not in ARCHITECTURES:
        raise UserError(f"{path}: unknown architecture {named[0][:60]!r}; there are: {', '.join(ARCHITECTURES)}")
    return named[0]


def _name(config: Config) -> str:
    """The last part of `_name_or_path`, or the folder that holds config.json, or the file's own name."""
    stem = config.path.resolve().parent.name if config.path.name == "config.json" else config.path.stem
    told = config.data.get("_name_or_path")
    name = (told.rstrip("/").rpartition("/")[2] if isinstance(told, str) else "") or stem or "model"
    if not name.isprintable():
        raise config.refuse("_name_or_path", name, "must be printable")
    return name


def _common(config: Config) -> dict[str, Any]:
    hidden, heads = config.count("hidden_size"), config.count("num_attention_heads")
    if not config.has("head_dim") and (heads == 0 or hidden % heads):
        raise config.refuse(
            "num_attention_heads", heads, f"must divide hidden_size ({hidden}) where head_dim is missing"
        )
    return {
        "layers": config.count("num_hidden_layers"),
        "hidden": hidden,
        "heads": heads,
        "kv_heads": config.count("num_key_value_heads", default=heads),
        "head_dim": config.count("head_dim", default=hidden // max(heads, 1)),
        "vocab": config.count("vocab_size"),
        "max_context": config.count("max_position_embeddings"),
        "tied_embeddings": config.flag("tie_word_embeddings"),
    }


def _dtype(config: Config) -> tuple[str, str]:
    """The weights' type, and where it comes from."""
    quantization = config.data.get("quantization_config")
    if quantization is not None:
        return _quantized(config, quantization), "quantization_config"
    key = "torch_dtype" if config.has("torch_dtype") else "dtype"
    if not config.has(key):
        return "bf16", "assumed: config.json names none"
    told = config.data[key]
    if not isinstance(told, str) or told.removeprefix("torch.") not in _DTYPES:
        raise config.refuse(key, told, f"must be one of {', '.join(_DTYPES)}")
    told = told.removeprefix("torch.")
    return _DTYPES[told], key + (": float32, which engines serve in 16 bits" if told == "float32" else "")


def _quantized(config: Config, quantization: Any) -> str:
    if not isinstance(quantization, dict):
        raise config.refuse("quantization_config", quantization, "must be an object")
    method = quantization.get("quant_method")
    if method in ("fp8", "fbgemm_fp8"):
        return "fp8"
    if method in ("gptq", "awq") and quantization.get("bits") in (4, 8):
        return f"int{quantization['bits']}"
    if method == "compressed-tensors" and isinstance(groups := quantization.get("config_groups"), dict):
        weights = [group.get("weights") for group in groups.values() if isinstance(group, dict)]
        kinds = {f"{weight.get('type')}{weight.get('num_bits')}" for weight in weights if isinstance(weight, dict)}
        if kinds in ({"float8"}, {"int8"}, {"int4"}):
            return kinds.pop().replace("float8", "fp8")
    raise config.refuse(
        "quantization_config", method, "must be fp8, gptq or awq of 4 or 8 bits, or compressed-tensors of one kind"
    )


def _window(config: Config, layers: int) -> dict[str, int] | None:
    """`sliding_window` in `layers` layers, or in those that `layer_types` names; None where it is null or unused."""
    types = config.data.get("layer_types")
    if isinstance(types, list):
        layers = types.count("sliding_attention")
    if not config.has("sliding_window") or layers <= 0:
        return None
    return {"tokens": config.count("sliding_window"), "layers": layers}


def _biases(config: Config) -> dict[str, Any]:
    """Llama's switches. The model has no key for a bias of the output projection alone: 1 element in some 100,000."""
    both = config.flag("attention_bias") and config.flag("mlp_bias")
    return {"qkv_bias": config.flag("attention_bias") and not both, "linear_bias": both}


def _llama(config: Config) -> dict[str, Any]:
    return {"ffn": config.count("intermediate_size")} | _biases(config)


def _windowed(config: Config) -> dict[str, Any]:
    """Mistral and Phi-3: one window in all layers."""
    return {"ffn": config.count("intermediate_size"), "window": _window(config, config.count("num_hidden_layers"))}


def _mixtral(config: Config) -> dict[str, Any]:
    experts = {"count": config.count("num_local_experts"), "active": config.count("num_experts_per_tok")}
    fields = _windowed(config)
    return fields | {"experts": experts | {"ffn": fields["ffn"]}}


def _qwen2(config: Config) -> dict[str, Any]:
    layers = config.count("num_hidden_layers")
    windowed = layers - config.count("max_window_layers") if config.flag("use_sliding_window") else 0
    window = _window(config, windowed) if config.flag("use_sliding_window") else None
    return {"ffn": config.count("intermediate_size"), "qkv_bias": True, "window": window}


def _qwen3(config: Config) -> dict[str, Any]:
    return _qwen2(config) | _biases(config) | {"qk_norm": True}


def _gemma2(config: Config) -> dict[str, Any]:
    window = _window(config, (config.count("num_hidden_layers") + 1) // 2)
    return {"ffn": config.count("intermediate_size"), "norms_per_layer": 4, "window": window} | _biases(config)


def _opt(config: Config) -> dict[str, Any]:
    if config.count("word_embed_proj_dim", default=config.count("hidden_size")) != config.count("hidden_size"):
        raise config.refuse("word_embed_proj_dim", config.data["word_embed_proj_dim"], "must equal hidden_size")
    return {
        "ffn": config.count("ffn_dim"),
        "gated": False,
        "linear_bias": config.flag("enable_bias", default=True),
        "norm_bias": True,
        "learned_positions": config.count("max_position_embeddings") + 2,  # OPTLearnedPositionalEmbedding's offset
    }


def _deepseek2(config: Config) -> dict[str, Any]:
    if config.count("moe_layer_freq") != 1:
        raise config.refuse("moe_layer_freq", config.data["moe_layer_freq"], "must be 1")
    if config.flag("attention_bias"):
        raise config.refuse("attention_bias", True, "must be false")
    nope, rope = config.count("qk_nope_head_dim"), config.count("qk_rope_head_dim")
    return {
        "ffn": config.count("intermediate_size"),
        "head_dim": nope + rope,
        "experts": {
            "count": config.count("n_routed_experts"),
            "active": config.count("num_experts_per_tok"),
            "ffn": config.count("moe_intermediate_size"),
            "shared": config.count("n_shared_experts", default=0),
            "dense_layers": config.count("first_k_dense_replace"),
        },
        "latent": {
            "kv_rank": config.count("kv_lora_rank"),
            "rope_dim": rope,
            "nope_dim": nope,
            "value_dim": config.count("v_head_dim"),
            "query_rank": config.count("q_lora_rank", default=0),
        },
    }


# architecture -> (what it adds to the common fields, what transformers assumes of keys that a config leaves out)
ARCHITECTURES: dict[str, tuple[Callable[[Config], dict[str, Any]], dict[str, Any]]] = {
    "LlamaForCausalLM": (_llama, {}),
    "MistralForCausalLM": (_windowed, {"num_key_value_heads": 8, "sliding_window": 4096}),
    "MixtralForCausalLM": (_mixtral, {"num_key_value_heads": 8}),
    "Qwen2ForCausalLM": (_qwen2, {"num_key_value_heads": 32, "max_window_layers": 28, "sliding_window": 4096}),
    "Qwen3ForCausalLM": (
        _qwen3,
        {"num_key_value_heads": 32, "head_dim": 128, "max_window_layers": 28, "sliding_window": 4096},
    ),
    "Gemma2ForCausalLM": (
        _gemma2,
        {"num_key_value_heads": 4, "head_dim": 256, "sliding_window": 4096, "tie_word_embeddings": True},
    ),
    "OPTForCausalLM": (_opt, {"tie_word_embeddings": True}),
    "Phi3ForCausalLM": (_windowed, {}),
    "DeepseekV2ForCausalLM": (_deepseek2, {"head_dim": 64, "moe_layer_freq": 1, "first_k_dense_replace": 0}),
}
