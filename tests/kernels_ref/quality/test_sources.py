"""Models of one's own: a folder of safetensors, and a GGUF file with rotary rows interleaved as llama.cpp writes them."""

import json

import pytest
import torch

tokenizers = pytest.importorskip("tokenizers", reason="needs the extra `quality`")

from kernels_ref.executor.weights import from_named  # noqa: E402
from kernels_ref.quality.bpe import tokenizer  # noqa: E402
from kernels_ref.quality.source import opened  # noqa: E402
from kvsim.errors import UserError  # noqa: E402
from tests.kernels_ref.quality.tiny import language  # noqa: E402

LETTERS = [*"abcdefghij", "ab", "abc"]
MERGES = ["a b", "ab c"]
OUTSIDE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm"}
INSIDE = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
} | {f"self_attn.{x}_proj": f"attn_{'output' if x == 'o' else x}" for x in "qkvo"}


def named_weights(tiny):
    names = ["model.embed_tokens", "model.norm", *(f"model.layers.{i}.{x}" for i in range(2) for x in INSIDE)]
    return {f"{name}.weight": tiny.source.named(f"{name}.weight") for name in names}


def check(source, tiny):
    """The same weights by the same names, and a tokenizer that merges."""
    assert source.model.layers == 2 and source.model.tied_embeddings
    found = from_named(tiny.shape, source.named, "cpu")
    torch.testing.assert_close(found.layers[1].qkv, tiny.decoder.weights.layers[1].qkv)
    torch.testing.assert_close(found.layers[0].gate_up, tiny.decoder.weights.layers[0].gate_up)
    torch.testing.assert_close(found.embedding, tiny.decoder.weights.embedding)
    assert (source.rope_theta, source.norm_eps) == (500.0, pytest.approx(1e-5))
    assert source.encode("dabc") == [3, 11] and source.decode([3, 11]) == "dabc"


def config(tiny):
    model = tiny.model
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "num_hidden_layers": model.layers,
        "hidden_size": model.hidden,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.kv_heads,
        "head_dim": model.head_dim,
        "intermediate_size": model.ffn,
        "vocab_size": model.vocab,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": True,
        "rope_theta": 500.0,
        "rms_norm_eps": 1e-5,
        "torch_dtype": "bfloat16",
    }


def write_safetensors(path, weights):
    header, data = {}, b""
    for name, weight in weights.items():
        raw = weight.contiguous().numpy().tobytes()
        header[name] = {"dtype": "F32", "shape": list(weight.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def test_a_folder_of_safetensors(tmp_path):
    tiny = language()
    weights = named_weights(tiny)
    names = list(weights)
    for i, part in enumerate((names[:9], names[9:])):
        write_safetensors(tmp_path / f"model-{i}.safetensors", {name: weights[name] for name in part})
    (tmp_path / "config.json").write_text(json.dumps(config(tiny)))
    made = tokenizers.Tokenizer(
        tokenizers.models.BPE({text: i for i, text in enumerate(LETTERS)}, [tuple(one.split()) for one in MERGES])
    )
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    made.save(str(tmp_path / "tokenizer.json"))
    check(opened(tmp_path), tiny)
    (tmp_path / "config.json").write_text(json.dumps({**config(tiny), "rope_scaling": {"type": "linear"}}))
    with pytest.raises(UserError, match="rope_scaling is not modelled"):
        opened(tmp_path)


def interleaved(weight, heads):
    """As `LlamaModel.permute` of llama.cpp's converter."""
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def test_a_gguf_file(tmp_path):
    gguf = pytest.importorskip("gguf", reason="needs the extra `quality`")
    tiny, path = language(), tmp_path / "tiny.gguf"
    model, writer = tiny.model, gguf.GGUFWriter(str(path), "llama")
    writer.add_block_count(model.layers)
    writer.add_context_length(4096)
    writer.add_embedding_length(model.hidden)
    writer.add_feed_forward_length(model.ffn)
    writer.add_head_count(model.heads)
    writer.add_head_count_kv(model.kv_heads)
    writer.add_rope_dimension_count(model.head_dim)
    writer.add_rope_freq_base(500.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(model.vocab)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(LETTERS)
    writer.add_token_types([1] * len(LETTERS))
    writer.add_token_merges(MERGES)
    for name, weight in named_weights(tiny).items():
        stem = name.removesuffix(".weight")
        if stem.endswith(("q_proj", "k_proj")):
            weight = interleaved(weight, model.heads if stem.endswith("q_proj") else model.kv_heads)
        layer, _, inner = stem.removeprefix("model.layers.").partition(".")
        known = OUTSIDE.get(stem) or f"blk.{layer}.{INSIDE[inner]}"
        writer.add_tensor(f"{known}.weight", weight.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    check(opened(path), tiny)
    check(opened(tmp_path), tiny)


def test_what_is_no_model_is_one_line(tmp_path):
    with pytest.raises(UserError, match="must hold a GGUF file"):
        opened(tmp_path)
    (tmp_path / "broken.gguf").write_bytes(b"no")
    with pytest.raises(UserError, match="is no GGUF file"):
        opened(tmp_path)


def test_digits_are_split_where_the_model_wants_it():
    letters = [*"0123456789", "12", "Ġ"]
    for pre, ids in (("gpt-2", [10]), ("smollm", [1, 2]), ("llama-bpe", [10]), ("qwen2", [1, 2])):
        encode, decode = tokenizer(letters, ["1 2"], [], pre)
        assert encode("12") == ids and decode(ids) == "12"
