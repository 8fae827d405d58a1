"""A Llama in one GGUF file, as llama.cpp converts it: shape, weights and byte-level BPE tokenizer.

Source: github.com/ggml-org/llama.cpp, docs and gguf-py; `convert_hf_to_gguf.py` interleaves the rows of queries and
keys that rotary embedding pairs (`LlamaModel.permute`), which `_halves` undoes.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGUFReader
from gguf.quants import dequantize

from kernels_ref.quality.bpe import tokenizer
from kernels_ref.quality.source import Source
from kvsim import find
from kvsim.errors import UserError
from kvsim.specs.model import Model

_IN_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_OUTSIDE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
_PRE = ("smollm", "gpt-2", "llama-bpe", "qwen2")


def read(path: Path) -> Source:
    """The model of a file.

    Raises:
        UserError: it is no GGUF, its architecture is not llama, or its tokenizer is no byte-level BPE that is known.
    """
    try:
        reader = GGUFReader(str(path))
    except ValueError as error:
        raise UserError(f"{path}: is no GGUF file: {error}") from None
    meta = _Meta(path, reader)
    if (found := meta.one("general.architecture")) != "llama":
        raise UserError(f"{path}: general.architecture must be llama, but got {found!r}")
    if (kind := meta.one("tokenizer.ggml.model")) != "gpt2" or meta.one("tokenizer.ggml.pre", "gpt-2") not in _PRE:
        raise UserError(f"{path}: tokenizer.ggml.model must be gpt2 with pre {', '.join(_PRE)}, but got {kind!r}")
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    model = _model(meta, path, tied="output.weight" not in tensors)
    special = [i for i, kind in enumerate(meta.many("tokenizer.ggml.token_type")) if kind in (3, 4)]
    encode, decode = tokenizer(
        [text.decode() for text in meta.texts("tokenizer.ggml.tokens")],
        [text.decode() for text in meta.texts("tokenizer.ggml.merges")],
        special,
        meta.one("tokenizer.ggml.pre", "gpt-2"),
    )
    begins = meta.one("tokenizer.ggml.add_bos_token", False)
    return Source(
        model,
        float(meta.one("llama.rope.freq_base", 10_000.0)),
        float(meta.one("llama.attention.layer_norm_rms_epsilon")),
        _weights(tensors, model),
        encode,
        decode,
        int(meta.one("tokenizer.ggml.bos_token_id")) if begins else None,
    )


class _Meta:
    """The file's key-value pairs."""

    def __init__(self, path: Path, reader: GGUFReader) -> None:
        self._path, self._fields = path, reader.fields

    def one(self, key: str, default: Any = None) -> Any:
        """A scalar; without a default it must be there."""
        if key in self._fields:
            return self._fields[key].contents()
        if default is None:
            raise UserError(f"{self._path}: has no {key}")
        return default

    def many(self, key: str) -> list[int]:
        """An array of numbers."""
        field = self._fields[key]
        return np.concatenate([field.parts[i] for i in field.data]).tolist()

    def texts(self, key: str) -> list[bytes]:
        """An array of strings."""
        field = self._fields[key]
        return [bytes(field.parts[i]) for i in field.data]


def _model(meta: _Meta, path: Path, tied: bool) -> Model:
    """The spec; the shipped one where the shape is SmolLM2's."""
    heads, hidden = meta.one("llama.attention.head_count"), meta.one("llama.embedding_length")
    shape = {
        "layers": meta.one("llama.block_count"),
        "hidden": hidden,
        "heads": heads,
        "kv_heads": meta.one("llama.attention.head_count_kv", heads),
        "head_dim": meta.one("llama.rope.dimension_count", hidden // heads),
        "ffn": meta.one("llama.feed_forward_length"),
        "vocab": meta.one("llama.vocab_size"),
        "max_context": meta.one("llama.context_length"),
        "tied_embeddings": tied,
    }
    known = find.model("smollm2-135m")
    if all(getattr(known, key) == value for key, value in shape.items()):
        return known
    return Model(name=str(meta.one("general.name", path.stem)), **shape)


def _weights(tensors: dict[str, Any], model: Model) -> Callable[[str], torch.Tensor]:
    def named(name: str) -> torch.Tensor:
        whole, _, kind = name.rpartition(".")
        layer = re.fullmatch(r"model\.layers\.(\d+)\.(.+)", whole)
        stem = f"blk.{layer[1]}.{_IN_LAYER[layer[2]]}" if layer else _OUTSIDE[whole]
        found = tensors[f"{stem}.{kind}"]
        weight = torch.from_numpy(dequantize(found.data, found.tensor_type).astype(np.float32, copy=True))
        if stem.endswith(("attn_q", "attn_k")):
            weight = _halves(weight, model.heads if stem.endswith("attn_q") else model.kv_heads)
        return weight

    return named


def _halves(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows [heads * D, ...] whose rotary pairs are neighbours, in the order where they are D / 2 apart."""
    rows = weight.reshape(heads, -1, 2, *weight.shape[1:])
    return rows.transpose(1, 2).reshape(weight.shape)
