"""The decoder's weights: drawn by a seed, or taken from named tensors."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import torch

from kernels_ref.executor.shape import Shape

Named = Callable[[str], torch.Tensor]


@dataclass(frozen=True)
class Layer:
    """[outputs, inputs] each; `qkv` holds queries, keys and values, `gate_up` the gate and what it scales."""

    qkv: torch.Tensor
    qkv_bias: torch.Tensor | None
    o: torch.Tensor
    gate_up: torch.Tensor
    down: torch.Tensor
    attention_norm: torch.Tensor
    mlp_norm: torch.Tensor


@dataclass(frozen=True)
class Weights:
    """Of one chip. `embedding` and `head` [vocab, hidden] are one tensor where the model ties them."""

    embedding: torch.Tensor
    layers: tuple[Layer, ...]
    norm: torch.Tensor
    head: torch.Tensor

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors, a tied one once."""
        tensors = [self.embedding, self.norm]
        tensors += [] if self.head is self.embedding else [self.head]
        for layer in self.layers:
            tensors += [x for x in vars(layer).values() if x is not None]
        return sum(x.nbytes for x in tensors)


def _rows(x: torch.Tensor, tp: int, rank: int) -> torch.Tensor:
    return x.chunk(tp, 0)[rank]


def from_named(shape: Shape, named: Named, device: str, rank: int = 0) -> Weights:
    """Weights from whole tensors by their names in Hugging Face's Llama; each chip keeps its share.

    Projections that write heads or the MLP's inner width are cut by rows, those that read them by columns.
    """
    tp = shape.tp

    def put(x: torch.Tensor) -> torch.Tensor:
        return x.to(device, shape.dtype).contiguous()

    def joint(names: list[str], kind: str) -> torch.Tensor:
        return put(torch.cat([_rows(named(f"{name}.{kind}"), tp, rank) for name in names]))

    def columns(name: str) -> torch.Tensor:
        return put(named(name).chunk(tp, 1)[rank])

    def layer(i: int) -> Layer:
        at, mlp = f"model.layers.{i}.self_attn", f"model.layers.{i}.mlp"
        qkv, gate_up = [f"{at}.{x}_proj" for x in "qkv"], [f"{mlp}.gate_proj", f"{mlp}.up_proj"]
        return Layer(
            joint(qkv, "weight"),
            joint(qkv, "bias") if shape.qkv_bias else None,
            columns(f"{at}.o_proj.weight"),
            joint(gate_up, "weight"),
            columns(f"{mlp}.down_proj.weight"),
            put(named(f"model.layers.{i}.input_layernorm.weight")),
            put(named(f"model.layers.{i}.post_attention_layernorm.weight")),
        )

    embedding = put(_rows(named("model.embed_tokens.weight"), tp, rank))
    head = embedding if shape.tied else put(_rows(named("lm_head.weight"), tp, rank))
    return Weights(embedding, tuple(layer(i) for i in range(shape.layers)), put(named("model.norm.weight")), head)


def drawn(shape: Shape, device: str, seed: int = 0) -> Named:
    """Random tensors by name: the same for every cut. Normal, so that activations stay near 1 through all layers."""
    tp, hidden, dim = shape.tp, shape.hidden, shape.dim
    rows = {"q_proj": shape.heads * tp * dim, "k_proj": shape.kv_heads * tp * dim, "v_proj": shape.kv_heads * tp * dim}
    rows |= {"o_proj": hidden, "gate_proj": shape.ffn * tp, "up_proj": shape.ffn * tp, "down_proj": hidden}
    inputs = {"o_proj": shape.heads * tp * dim, "down_proj": shape.ffn * tp}

    def named(name: str) -> torch.Tensor:
        generator = torch.Generator(device).manual_seed(zlib.crc32(f"{seed} {name}".encode()))
        kind = name.split(".")[-2]
        if "norm" in kind:
            return torch.ones(hidden, device=device, dtype=shape.dtype)
        if name.endswith("bias"):
            size, deviation = (rows[kind],), 0.1
        elif kind in rows:
            size = (rows[kind], inputs.get(kind, hidden))
            deviation = size[1] ** -0.5 / ((2 * shape.layers) ** 0.5 if kind in inputs else 1.0)
        else:
            size, deviation = (shape.vocab * tp, hidden), 1.0 if kind == "embed_tokens" else hidden**-0.5
        made = torch.empty(size, device=device, dtype=shape.dtype)
        return made.normal_(0.0, deviation, generator=generator)

    return named
