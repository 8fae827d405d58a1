"""Bases of fewer channels: dropped ones, projections, latents that all kv heads of a layer share."""

from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.kernels import elementwise
from kvsim.cost.op import Op
from kvsim.traits.encoding import Basis, Ints, Parts, Quantizer
from kvsim.traits.trait import Decode, End


def _split(quantizer: Quantizer, keys: Ints, values: Ints, key_dim: int, value_dim: int) -> Parts:
    """Coded bytes of as many keys and values, which may differ in number."""
    key, value = quantizer.bytes(keys, key_dim, 0), quantizer.bytes(values, 0, value_dim)
    return Parts(key.key, value.value, key.metadata + value.metadata)


@dataclass(frozen=True)
class ChannelCut(Basis):
    """ThinK: keys keep the channels where the last `observed` queries and the keys are large; a bit each says which.

    Attributes:
        keep: share of key channels. window: newest tokens whose keys keep all channels, at 16 bits.
    """

    keep: float
    window: int
    observed: int = 32
    linear = False

    def key_dim(self, dim: int) -> int:
        """int(keep x dim)."""
        return int(self.keep * dim)

    def metadata_bytes(self, dim: int) -> int:
        """The mask."""
        return -(-dim // 8)

    def bytes(self, quantizer: Quantizer, tokens: Ints, key_dim: int, value_dim: int) -> Parts:
        """Narrow keys, whole keys of the window, and all values."""
        whole = np.minimum(tokens, self.window)
        found = _split(quantizer, tokens - whole, tokens, self.key_dim(key_dim), value_dim)
        return Parts(found.key + whole * (2 * key_dim), found.value, found.metadata)

    def allocated(self, quantizer: Quantizer, tokens: Ints, block: int, key_dim: int, value_dim: int) -> Ints:
        """Pages of narrow rows, and the window from the start."""
        rows = quantizer.allocated(tokens, block, self.key_dim(key_dim), value_dim)
        found: Ints = rows + self.window * 2 * key_dim * (tokens > 0)
        return found

    def work(self, quantizer: Quantizer, tokens: Ints, key_dim: int, value_dim: int) -> Ints:
        """Of what is coded."""
        old = np.maximum(tokens - self.window, 0)
        return quantizer.work(old, self.key_dim(key_dim), 0) + quantizer.work(tokens, 0, value_dim)

    def more_launches(self, geo: Geometry, kind: LayerKind) -> float:
        """Narrow and whole keys are two segments."""
        return 1.0

    def end_ops(self, geo: Geometry, kind: LayerKind, end: End) -> list[Op]:
        """Squared norms of channels over the keys, top-k, and narrow keys written."""
        keys = end.prompt * (2.0 * sum(kind.heads) * geo.key_dim)
        return [elementwise("cut_channels", keys * (2 + self.keep), 5, kind.layers, keys)]

    def decode_ops(self, geo: Geometry, kind: LayerKind, sums: Decode) -> list[Op]:
        """Queries are gathered to the kept channels."""
        moved = sums.sequences * (4.0 * geo.query_heads * geo.key_dim)
        return [elementwise("gather_queries", moved, 1, kind.layers)]


@dataclass(frozen=True)
class Projected(Basis):
    """MatryoshkaKV: each kv head's keys and values in the first coordinates of an orthogonal basis of its own.

    Keys are stored before RoPE, so that attention turns each of them back; values stay, and the output is turned back.
    """

    key_keep: float
    value_keep: float

    def key_dim(self, dim: int) -> int:
        """Coordinates kept of a key."""
        return ceil(self.key_keep * dim)

    def value_dim(self, dim: int) -> int:
        """Coordinates kept of a value."""
        return ceil(self.value_keep * dim)

    def static_bytes(self, geo: Geometry) -> int:
        """Both bases of each head, 16 bits."""
        return 2 * geo.model.layers * geo.kv_heads * (geo.key_dim**2 + geo.value_dim**2)

    def rebuilt(self, tokens: Ints) -> Ints:
        """All."""
        return tokens

    def rebuild_flops(self, geo: Geometry) -> int:
        """2 rank dim for a key; the sum of values runs over fewer channels."""
        saved = 2 * (geo.value_dim - self.value_dim(geo.value_dim)) * geo.query_heads // geo.kv_heads
        return max(0, 2 * self.key_dim(geo.key_dim) * geo.key_dim - saved)

    def decode_ops(self, geo: Geometry, kind: LayerKind, sums: Decode) -> list[Op]:
        """The new token's rows are projected, the output is turned back."""
        heads = geo.query_heads + sum(kind.heads)
        flops = sums.sequences * (2.0 * heads * (geo.key_dim**2 + geo.value_dim**2))
        moved = sums.sequences * (4.0 * heads * (geo.key_dim + geo.value_dim))
        return [Op("project_rows", "gemm", "gpu", {"bf16": flops}, moved, 2, kind.layers)]


@dataclass(frozen=True)
class Latent(Basis):
    """One narrow row for all kv heads of a layer: what the key and value projections give before they widen.

    Keys are stored before RoPE, so that attention rebuilds each of them; without rotary positions queries go into the
    narrow space instead.

    Attributes:
        key_keep, value_keep: ranks as shares of the full width over all heads.
        window: newest tokens stored at full width, 16 bits, besides (CSKV's two branches).
        widens_values: attention rebuilds values too; otherwise it sums them as they are, and the output is widened.
        heads: kv heads of a layer, which `of_kind` fills in.
    """

    key_keep: float
    value_keep: float
    window: int = 0
    widens_values: bool = False
    heads: int = 1
    joint = True
    linear = False

    def of_kind(self, kind: LayerKind) -> Basis:
        """For its kv heads."""
        return replace(self, heads=sum(kind.heads))

    def key_dim(self, dim: int) -> int:
        """The rank of keys."""
        return ceil(self.key_keep * self.heads * dim)

    def value_dim(self, dim: int) -> int:
        """The rank of values."""
        return ceil(self.value_keep * self.heads * dim)

    def bytes(self, quantizer: Quantizer, tokens: Ints, key_dim: int, value_dim: int) -> Parts:
        """Narrow rows of all tokens, whole ones of the window."""
        found = quantizer.bytes(tokens, self.key_dim(key_dim), self.value_dim(value_dim))
        whole = np.minimum(tokens, self.window) * (2 * self.heads)
        return Parts(found.key + whole * key_dim, found.value + whole * value_dim, found.metadata)

    def allocated(self, quantizer: Quantizer, tokens: Ints, block: int, key_dim: int, value_dim: int) -> Ints:
        """Pages of narrow rows, and the window from the start."""
        rows = quantizer.allocated(tokens, block, self.key_dim(key_dim), self.value_dim(value_dim))
        found: Ints = rows + self.window * 2 * self.heads * (key_dim + value_dim) * (tokens > 0)
        return found

    def rebuilt(self, tokens: Ints) -> Ints:
        """All but the window."""
        return np.maximum(tokens - self.window, 0)

    def rebuild_flops(self, geo: Geometry) -> int:
        """2 rank dim for a widened row; queries or sums of rank instead of dim channels for one that is not."""
        group = geo.query_heads // geo.kv_heads
        latent = replace(self, heads=geo.kv_heads)
        key, value = latent.key_dim(geo.key_dim), latent.value_dim(geo.value_dim)
        absorbs = bool(geo.model.learned_positions)
        keys = 2 * group * (key - geo.key_dim) if absorbs else 2 * key * geo.key_dim
        return keys + (2 * value * geo.value_dim if self.widens_values else 2 * group * (value - geo.value_dim))

    def kv_columns(self, geo: Geometry) -> int:
        """Projections end at the ranks; with a window, full rows are computed too."""
        latent = replace(self, heads=geo.kv_heads)
        narrow = latent.key_dim(geo.key_dim) + latent.value_dim(geo.value_dim)
        return narrow + (geo.kv_heads * (geo.key_dim + geo.value_dim) if self.window else 0)

    def static_bytes(self, geo: Geometry) -> int:
        """What narrows and what widens rows, 16 bits, less the model's own projections unless a window needs them."""
        latent, heads = replace(self, heads=geo.kv_heads), geo.kv_heads
        key, value = latent.key_dim(geo.key_dim), latent.value_dim(geo.value_dim)
        up = heads * (key * geo.key_dim + value * geo.value_dim)
        down = (key + value) * geo.model.hidden
        own = heads * (geo.key_dim + geo.value_dim) * geo.model.hidden
        return 2 * geo.model.layers * (up + down - (0 if self.window else own))
