"""A transformer's shape: what `workloads/models/*.yaml` holds and `--model` names; its parameters and bytes."""

from functools import cached_property
from typing import Literal

from pydantic import Field, model_validator

from kvsim.specs.hardware import DTYPE_BYTES
from kvsim.specs.load import Count, CountOrZero, Spec

Dtype = Literal["bf16", "fp16", "fp8", "int8", "int4"]


class SlidingWindow(Spec):
    """Layers that attend to the last `tokens` only: `layers` of them, the rest see everything."""

    tokens: Count
    layers: Count


class Experts(Spec):
    """Mixture of experts: of `count` experts of width `ffn`, each token visits `active`, besides the `shared` ones."""

    count: Count
    active: Count
    ffn: Count
    shared: CountOrZero = 0
    dense_layers: CountOrZero = Field(
        default=0, description="leading layers with a plain MLP of width `ffn` of the model"
    )


class Latent(Spec):
    """Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434, section 2.1): one latent row per token and layer."""

    kv_rank: Count
    rope_dim: Count
    nope_dim: Count
    value_dim: Count
    query_rank: CountOrZero = Field(default=0, description="0: queries come straight from the hidden state")


class Model(Spec):
    """A decoder-only transformer. Widths count elements; `ffn` is the MLP's inner width."""

    name: str
    layers: Count
    hidden: Count
    heads: Count
    kv_heads: Count
    head_dim: Count
    ffn: Count
    vocab: Count
    max_context: Count
    gated: bool = True
    tied_embeddings: bool = False
    qkv_bias: bool = False
    linear_bias: bool = False
    qk_norm: bool = False
    norms_per_layer: Count = 2
    norm_bias: bool = False
    learned_positions: CountOrZero = 0
    dtype: Dtype = "bf16"
    window: SlidingWindow | None = None
    experts: Experts | None = None
    latent: Latent | None = None
    published: dict[str, float] = Field(default_factory=dict)
    sources: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> "Model":
        if self.heads % self.kv_heads:
            raise ValueError(f"heads must be a multiple of kv_heads, but got {self.heads} and {self.kv_heads}")
        if self.window and self.window.layers > self.layers:
            raise ValueError(f"window.layers must be at most layers ({self.layers}), but got {self.window.layers}")
        if self.experts and self.experts.active > self.experts.count:
            raise ValueError(f"experts.active must be at most {self.experts.count}, but got {self.experts.active}")
        if self.moe_layers < 0:
            raise ValueError(f"experts.dense_layers must be at most layers ({self.layers})")
        if self.latent and self.head_dim != self.latent.nope_dim + self.latent.rope_dim:
            raise ValueError(f"head_dim must be latent.nope_dim + latent.rope_dim, but got {self.head_dim}")
        return self

    @property
    def key_dim(self) -> int:
        """Elements of one cached key per kv head: head_dim, or the latent and its rotary part (MLA)."""
        return self.latent.kv_rank + self.latent.rope_dim if self.latent else self.head_dim

    @property
    def value_dim(self) -> int:
        """Elements of one cached value per kv head; MLA reads values out of the latent, so 0."""
        return 0 if self.latent else self.head_dim

    @property
    def cache_heads(self) -> int:
        """KV heads that a layer caches: one latent for MLA."""
        return 1 if self.latent else self.kv_heads

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes that the full cache stores per token over all layers at 16 bits (or the model's own 16-bit type)."""
        return 2 * self.layers * self.cache_heads * (self.key_dim + self.value_dim)

    @property
    def moe_layers(self) -> int:
        """Layers whose MLP is a mixture of experts."""
        return self.layers - self.experts.dense_layers if self.experts else 0

    @property
    def attention_parameters(self) -> int:
        """Weights and biases of one layer's attention projections."""
        if self.latent:
            lat, query = self.latent, self.heads * (self.latent.nope_dim + self.latent.rope_dim)
            down = self.hidden * (lat.kv_rank + lat.rope_dim) + lat.kv_rank
            up = lat.kv_rank * self.heads * (lat.nope_dim + lat.value_dim)
            wq = lat.query_rank * (self.hidden + query + 1) if lat.query_rank else self.hidden * query
            return wq + down + up + self.heads * lat.value_dim * self.hidden
        wide, narrow = self.heads * self.head_dim, self.kv_heads * self.head_dim
        bias = (wide + 2 * narrow if self.qkv_bias or self.linear_bias else 0) + (
            self.hidden if self.linear_bias else 0
        )
        norm = 2 * self.head_dim if self.qk_norm else 0
        return self.hidden * (2 * wide + 2 * narrow) + bias + norm

    def mlp_parameters(self, ffn: int) -> int:
        """Weights and biases of one plain MLP of inner width `ffn`."""
        bias = ffn + self.hidden if self.linear_bias else 0
        return self.hidden * ffn * (3 if self.gated else 2) + bias

    @cached_property
    def parameters(self) -> int:
        """All parameters; embeddings once when tied."""
        norm = self.hidden * (2 if self.norm_bias else 1)
        total = self.layers * (self.attention_parameters + self.norms_per_layer * norm) + norm
        total += (self.layers - self.moe_layers) * self.mlp_parameters(self.ffn)
        if self.experts:
            each = self.mlp_parameters(self.experts.ffn)
            router = self.hidden * self.experts.count
            total += self.moe_layers * ((self.experts.count + self.experts.shared) * each + router)
        embedding = self.vocab * self.hidden
        total += embedding * (1 if self.tied_embeddings else 2)
        return total + self.learned_positions * self.hidden

    @property
    def weight_bytes(self) -> float:
        """Bytes of all weights: linear layers at `dtype`, embeddings and head at 16 bits."""
        embedding = self.vocab * self.hidden * (1 if self.tied_embeddings else 2) + self.learned_positions * self.hidden
        return (self.parameters - embedding) * weight_element_bytes(self.dtype) + embedding * 2.0


def weight_element_bytes(dtype: str) -> float:
    """Bytes of one linear weight. int4 carries an fp16 scale per 128 weights (GPTQ and AWQ, group 128)."""
    return DTYPE_BYTES[dtype] + (2.0 / 128 if dtype == "int4" else 0.0)
