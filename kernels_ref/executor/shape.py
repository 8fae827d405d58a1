"""The shape of a Llama-like decoder on one chip of a replica: a kvsim model spec, cut for tensor parallelism."""

from dataclasses import dataclass

import torch

from kvsim.errors import UserError
from kvsim.specs.model import Model

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Shape:
    """Widths count elements, of one chip where they are cut: `heads`, `kv_heads`, `ffn`, `vocab`.

    `rope_theta` and `norm_eps` do not change what a step costs; a spec does not hold them.
    """

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    dim: int
    ffn: int
    vocab: int
    qkv_bias: bool
    tied: bool
    dtype: torch.dtype
    tp: int = 1
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-5

    @property
    def qkv_rows(self) -> int:
        """Outputs of the joint projection: queries, then keys, then values."""
        return (self.heads + 2 * self.kv_heads) * self.dim


def shape_of(model: Model, tp: int = 1, dtype: torch.dtype | None = None) -> Shape:
    """The shape of `model` over `tp` chips.

    Raises:
        UserError: a model that is no plain Llama, or that `tp` does not cut evenly.
    """
    others = {
        "a mixture of experts": model.experts is not None,
        "a latent cache": model.latent is not None,
        "sliding windows": model.window is not None,
        "learned positions": bool(model.learned_positions),
        "an MLP without a gate": not model.gated,
        "biases of all projections": model.linear_bias,
        "norms of queries and keys": model.qk_norm,
        "norms with a bias": model.norm_bias,
        f"{model.norms_per_layer} norms a layer": model.norms_per_layer != 2,
        f"weights in {model.dtype}": model.dtype not in DTYPES,
        f"heads of {model.head_dim} channels": model.head_dim & (model.head_dim - 1) != 0,
    }
    if found := [what for what, has in others.items() if has]:
        raise UserError(f"executor torch: {model.name} has {', '.join(found)}; it runs Llama-shaped models of 16 bits")
    if model.heads % tp or model.kv_heads % tp or model.ffn % tp or model.vocab % tp:
        raise UserError(f"executor torch: tp {tp} does not cut {model.name}'s kv heads, MLP and vocabulary evenly")
    return Shape(
        model.name,
        model.layers,
        model.hidden,
        model.heads // tp,
        model.kv_heads // tp,
        model.head_dim,
        model.ffn // tp,
        model.vocab // tp,
        model.qkv_bias,
        model.tied_embeddings,
        dtype or DTYPES[model.dtype],
        tp,
    )
