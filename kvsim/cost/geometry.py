"""A model cut for tensor parallelism: what one chip of a replica stores and computes."""

from dataclasses import dataclass

from kvsim.errors import UserError
from kvsim.specs.model import Model


@dataclass(frozen=True)
class LayerKind:
    """`layers` layers that price alike: `heads` kv heads in each budget group, attending at most `window` tokens.

    `index` says which layers they are, from 0.
    """

    layers: int
    heads: tuple[int, ...]
    window: int | None = None
    index: tuple[int, ...] = ()


@dataclass(frozen=True)
class Geometry:
    """One chip's share of attention. Dims are elements; FLOPs count a multiply-add as two.

    A policy may change the projections of keys and values: their columns on this chip (`kv_columns`, None as in the
    model), and layers that have none (`unprojected_layers`).
    """

    model: Model
    tp: int
    query_heads: int
    kv_heads: int
    key_dim: int
    value_dim: int
    decode_flops: int  # of one query head and one cached token: scores and weighted sum
    prefill_flops: int  # of one query head and one query-key pair
    kv_columns: int | None = None
    unprojected_layers: int = 0

    @property
    def windows(self) -> tuple[int | None, ...]:
        """Tokens that each layer attends to at most; windowed layers are taken as evenly spread over the depth."""
        many, window = self.model.layers, self.model.window
        if not window:
            return (None,) * many
        spread = [(layer + 1) * window.layers // many - layer * window.layers // many for layer in range(many)]
        return tuple(window.tokens if inside else None for inside in spread)

    @property
    def query_bytes(self) -> float:
        """Bytes of one token's queries in and attention output out, in one layer."""
        return 4.0 * self.query_heads * (self.key_dim if not self.model.latent else self.model.latent.kv_rank)

    @property
    def queries_per_kv_head(self) -> float:
        """Query heads that share one cached head on this chip."""
        return self.query_heads / self.kv_heads


def cut(model: Model, tp: int) -> Geometry:
    """`model` over `tp` chips: query heads divide; fewer kv heads than chips are replicated.

    Raises:
        UserError: tp does not divide the heads.
    """
    if model.heads % tp or (model.ffn % tp):
        fits = [t for t in (1, 2, 4, 8) if model.heads % t == 0 and model.ffn % t == 0]
        raise UserError(f"tp: {tp} does not divide {model.name}'s {model.heads} heads; it runs with {fits}")
    if model.cache_heads % tp and tp % model.cache_heads:
        raise UserError(f"tp: {tp} does not divide {model.name}'s {model.cache_heads} kv heads, nor they it")
    kv_heads = max(1, model.cache_heads // tp)
    if model.latent:
        lat = model.latent
        decode, prefill = 2 * model.key_dim + 2 * lat.kv_rank, 2 * (lat.nope_dim + lat.rope_dim) + 2 * lat.value_dim
    else:
        decode = prefill = 4 * model.head_dim
    return Geometry(model, tp, model.heads // tp, kv_heads, model.key_dim, model.value_dim, decode, prefill)
